"""What fits tell and where they look: notes, search ranges, draws and errors that a slip would change unseen."""

import numpy as np
import pandas as pd
import pytest

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.limit_rate import fit_approach
from muster.fitting.frames import positive_axis
from muster.fitting.laws.declared import Declaration, declare
from muster.fitting.laws.declared_starts import _Place, _Range, _range
from muster.fitting.laws.expressions import Number
from muster.fitting.optimum.surface import find_surface
from muster.statistics.censored import plane_given_sigma
from muster.statistics.wild_bootstrap import webb_weights
from tests.unit.fitting import test_forms
from tests.unit.fitting.test_laws_estimate import estimate, offset_runs


def test_the_note_of_forms_says_on_how_many_curves_each_was_best():
    rows = test_forms.run(test_forms.table(test_forms.TRUTH["power"], noise=0.0), form="power", rivals=["exponential"])
    assert rows.loc["bic", "note"] == "best form: power 4, 4 curves"


def test_a_drift_is_looked_for_up_to_a_factor_of_twenty():
    """Intervals of `drift_left` that rows leave open end at ln 20 upwards of the largest shape."""
    x = np.array([64.0, 128, 256, 512, 1024])
    found = fit_approach(x, np.array([0.1, -0.1, 0.05, 0.0, -0.05]), 0.5)
    assert np.exp(-found.values.min()) == pytest.approx(20, rel=0.01)


def test_webb_weights_are_the_same_in_every_run():
    """Published p values hold these draws: in units of √½, √1 and √(3/2), whose squares are 1, 2 and 3 halves."""
    found = webb_weights(3, 4)
    assert (np.sign(found) * np.rint(2 * found**2)).astype(int).tolist() == [
        [3, 1, 1, -2],
        [-2, -3, -3, -3],
        [-2, 2, 1, 3],
    ]


def test_as_many_known_values_as_coefficients_give_the_plane_through_them():
    """Without a warning, which is an error here: errors that are asked of no rows are not made."""
    design = np.array([[1.0, 0.0], [1.0, 2.0]])
    y = np.array([1.0, 5.0])
    assert plane_given_sigma(design, y, y, 0.3) == pytest.approx([1, 2], abs=1e-5)


def test_a_shallow_direction_is_judged_by_its_own_error():
    """Learning rates span ten times what batch sizes do: the curvature along them is small and well known, that along
    the batch size large and known worse than the small one is large."""
    u, v = (each.ravel() for each in np.meshgrid(10.0 * np.arange(-2, 3), np.arange(-2, 3)))
    noise = 0.02 * np.random.default_rng(0).standard_normal(25)
    for axes in ((u, v), (v, u)):
        assert find_surface(*axes, 0.002 * u**2 + 0.2 * v**2 + noise, window=5, min_side=1).status == "interior"


@pytest.mark.parametrize("form", ["exp(2) + A*N^-p", "sqrt(2) + A*N^-p + exp(-1)", "2*sqrt(3) + A*N^-p"])
def test_a_term_of_numbers_alone_counts(form):
    n = np.geomspace(0.1, 10, 5)
    law = declare("law", Declaration(form, ("N",)))
    found = law.log_value(
        law.from_natural(np.array([[{"a": 3.0, "p": 0.4}[name] for name in law.parameters]])), n[None]
    )
    names = {"exp": np.exp, "sqrt": np.sqrt, "A": 3.0, "N": n, "p": 0.4}
    assert found[0][0] == pytest.approx(np.log(eval(form.replace("^", "**"), names)))


@pytest.mark.parametrize("signed", [False, True])
def test_a_shift_is_looked_for_among_the_values_that_it_is_added_to(signed):
    """c of E + A/(N + c)^α: over 24 starts between the ends of N, either way where it may be negative."""
    n = np.geomspace(10, 1e4, 20)
    law = declare("law", Declaration("E + A / (N + c)^alpha", ("N",), signed=("c",) if signed else ()))
    starts = law.to_natural(law.starts(n[None], 1.5 + 9 * (n + 50) ** -0.4))
    c = starts[:, law.parameters.index("c")]
    assert 10 <= np.abs(c).min() < np.abs(c).max() <= 1e4
    assert np.abs(c).max() > 5e3


def test_a_range_by_difference_goes_from_end_to_end():
    found = _Range((), -2.0, 6.0, ratio=False).at(np.array([0.0, 0.25, 1.0]))
    assert found.tolist() == [-2, 0, 6]


def test_a_signed_exponent_is_looked_for_on_both_sides_alike():
    where = np.zeros((1, 1)), np.array([False]), np.ones((1, 3))
    found = _range(0, _Place(True, signed=True), {}, (-np.inf, np.inf), *where)
    assert found.at(np.array([0.0, 0.5, 1.0])).tolist() == [-1, 0, 1]


def test_what_nothing_is_known_of_is_looked_for_over_six_decades():
    where = np.zeros((1, 1)), np.array([False]), np.ones((1, 3))
    found = _range(0, _Place(False, rest=Number(np.nan)), {}, (-np.inf, np.inf), *where)
    assert found.at(np.array([0.0, 0.5, 1.0])) == pytest.approx([1e-3, 1, 1e3])


def test_a_vector_that_names_what_vanished_is_not_identified():
    """The offset ends at 0: what is printed of it cannot be held against a normal estimate, what leaves it out can."""
    vectors = {"all": {"alpha": 0.5, "a": 20.0, "e": 0.1}, "some": {"alpha": 0.5, "a": 20.0}}
    table = offset_runs(e=0.0, noise=0.02)
    table["loss"] -= 0.005
    found = estimate(table, "power_offset", "width", published=vectors).set_index("parameter")
    assert (found.loc["e", "estimate"], found.loc["alpha", "status"]) == (0, "ok")
    assert found.loc["wald_all", "status"] == "not_identified"
    assert found.loc["wald_some", "status"] == "ok"


def test_the_note_of_a_mean_names_the_group_of_the_largest():
    rows = pd.DataFrame({"task": list("aabb"), "run": list("wxyz"), "loss": [1.0, 2.0, 5.0, 6.0]})
    fit = {"estimator": "mean_of_runs", "response": "loss"}
    notes = [
        ESTIMATORS["mean_of_runs"].function(rows, FitConfig(**fit, options=options)).fits["note"].item()
        for options in ({"across": ["task"]}, {})
    ]
    assert notes == ["2 groups, largest mean b", ""]


@pytest.mark.parametrize("least", [0, -1])
def test_an_axis_that_is_not_positive_has_no_exponent(least):
    with pytest.raises(MusterError, match=f"width takes the value {least}"):
        positive_axis([least, 1, 2], "width")
