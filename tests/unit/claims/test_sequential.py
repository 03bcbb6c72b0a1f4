"""Group-sequential looks: boundaries against closed forms, false verdicts and savings by simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from muster.claims.sequential import boundaries, information, look, nested_looks, noise_statistics, spent

WIDTHS = np.geomspace(96, 1024, 17)


def places(shapes):
    return [[math.log(x) for x in seen] for seen in nested_looks(shapes)]


def test_looks_are_nested_spread_over_the_range_and_end_with_all():
    looks = nested_looks(WIDTHS)
    assert [len(seen) for seen in looks] == [5, 9, 17]
    for before, after in itertools.pairwise(looks):
        assert set(before) < set(after)
    np.testing.assert_allclose(np.diff(np.log(looks[0])), math.log(1024 / 96) / 4)
    assert [len(seen) for seen in nested_looks([32, 45, 64, 91, 128, 181, 256])] == [5, 7]
    assert [len(seen) for seen in nested_looks([32, 64, 128, 256, 512, 1024])] == [6]  # an earlier look saves nothing


def test_a_single_look_is_the_t_test():
    x = np.log(WIDTHS[:8])
    (critical,) = boundaries([x], information(x), 0.05, last=True)
    assert critical == pytest.approx(stats.t.ppf(0.95, 6), abs=0.02)  # Monte Carlo over 400,000 draws


def test_statistics_of_noise_follow_t_and_share_their_shapes():
    t = noise_statistics(tuple(tuple(seen) for seen in places(WIDTHS)), 40_000)
    for k, dof in enumerate((3, 7, 15)):
        assert stats.kstest(t[:, k], stats.t(dof).cdf).pvalue > 0.01
    assert np.corrcoef(stats.rankdata(t[:, 0]), stats.rankdata(t[:, 1]))[0, 1] > 0.5


def test_what_is_spent_grows_to_the_level():
    assert spent(0, 0.05) == 0
    assert spent(1, 0.05) == pytest.approx(0.05)
    assert spent(0.5, 0.05) == pytest.approx(0.05 * math.log(1 + (math.e - 1) / 2))


@pytest.mark.parametrize("level", [0.05, 0.0125])
def test_false_crossings_over_all_looks_make_up_the_level(level):
    """Other draws than those that set the boundaries; naive looks at t quantiles cross twice as often."""
    seen = places(WIDTHS)
    critical = boundaries(seen, information(seen[-1]), level, last=True)
    t = noise_statistics(tuple(tuple(x) for x in seen), 200_000, seed=1)
    assert (t >= critical).any(axis=1).mean() == pytest.approx(level, abs=4 * math.sqrt(level / 200_000) + 3e-4)
    naive = stats.t.ppf(1 - level, [len(x) - 2 for x in seen])
    assert (t >= naive).any(axis=1).mean() > 1.6 * level


@pytest.mark.parametrize(
    ("scatter", "lost"), [(0.06, 0), (0.3, 0), (0.06, 0.15)], ids=["calm", "noisy", "shapes lost at random"]
)
def test_false_verdicts_with_two_bounds(scatter, lost):
    """True slope at the margin .1: false support ≤ 5 %; inside the region: false refutation ≤ 5 %. 1,000 studies; a
    share of 5 % has a standard error of .7 %."""
    rng = np.random.default_rng(3)
    seen = [np.array(x) for x in places(WIDTHS)]
    everything = seen[-1]
    planned = information(everything)
    wrong = {0.1: 0, 0.0999: 0}
    studies = 1000
    kept = [np.ones(len(everything), bool)] if not lost else [rng.random(len(everything)) > lost for _ in range(4)]
    for true in wrong:
        word = "supported" if true == 0.1 else "refuted"
        for number in range(studies):
            here = kept[number % len(kept)]
            y = true * everything + scatter * rng.standard_normal(len(everything))
            used = []
            for k, x in enumerate(seen):
                at = np.isin(everything, x) & here
                used.append(everything[at].tolist())
                line = stats.linregress(everything[at], y[at])
                claim = ("equivalence", 0.0, 0.1)
                found = look(claim, line.slope, line.stderr, used, planned, last=k == len(seen) - 1)
                if found.decision != "open":
                    wrong[true] += found.decision == word
                    break
    assert wrong[0.1] / studies <= 0.05 + 3 * 0.007
    assert wrong[0.0999] / studies <= 0.05 + 3 * 0.007


def test_a_clear_case_is_decided_at_the_first_looks():
    """Scatter .09 octaves, true slope 0, margin .1, range × 10.7: most studies need 9 of 17 shapes or fewer."""
    rng = np.random.default_rng(4)
    seen = [np.array(x) for x in places(WIDTHS)]
    shapes, supported = [], 0
    for _ in range(300):
        y = 0.09 * math.log(2) * rng.standard_normal(17)
        for k, x in enumerate(seen):
            at = np.isin(seen[-1], x)
            line = stats.linregress(x, y[at])
            found = look(
                ("equivalence", 0.0, 0.1), line.slope, line.stderr, seen[: k + 1], information(seen[-1]), k == 2
            )
            if found.decision != "open" or k == 2:
                shapes.append(len(x))
                supported += found.decision == "supported"
                break
    assert supported / 300 > 0.95
    assert np.mean(shapes) < 12


def test_a_bound_of_one_side_uses_the_whole_level_there():
    x = places(WIDTHS)
    planned = information(x[-1])
    below = look(("less", 0.0, 0.0), -0.3, 0.05, x[:1], planned, last=False)
    assert below.decision == "supported"
    assert below.boundary == below.against_boundary
    assert look(("less", 0.0, 0.0), 0.3, 0.05, x[:1], planned, last=False).decision == "refuted"
    two = look(("equivalence", 0.0, 0.1), 0.0, 0.01, x[:1], planned, last=False)
    assert two.decision == "supported"
    assert two.against_boundary > two.boundary


def test_a_look_that_may_spend_nothing_yet_leaves_the_later_ones_theirs():
    """By its first three shapes hardly anything is known: among 1,000 draws not one crossing may be spent."""
    first, last = np.log(WIDTHS[:3]), np.log(WIDTHS)
    assert spent(information(first) / information(last), 0.05) < 1 / 2000
    none, critical = boundaries([first, last], information(last), 0.05, last=True, draws=1000)
    assert none == math.inf
    assert critical == pytest.approx(stats.t.ppf(0.95, len(last) - 2), abs=0.2)
