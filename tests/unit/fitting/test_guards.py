"""What fits tell and where they look: notes, search ranges, draws and errors that a slip would change unseen."""

import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.linear_model import WLS

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS
from muster.fitting.estimators.expected_max import jackknife_error
from muster.fitting.estimators.first_passage import slope_lognormal
from muster.fitting.estimators.limit_rate import fit_approach
from muster.fitting.estimators.lr_transfer import WindowOptions, shape_optima
from muster.fitting.estimators.regression import coefficients
from muster.fitting.frames import positive_axis, require_distinct_runs
from muster.fitting.laws.declared import Declaration, declare
from muster.fitting.laws.declared_starts import _at_least, _peeled, _Place, _places, _Range, _range
from muster.fitting.laws.estimate import LawOptions, Rows, _influence, _split, held_rows
from muster.fitting.laws.expressions import Call, Logarithm, Number, Parameter, Variable, at, product, total
from muster.fitting.laws.law import DeclaredOptions, law_of_options
from muster.fitting.laws.newton import Box, _slope, _State
from muster.fitting.laws.ray import _crossing
from muster.fitting.laws.solve import _vanished, fit_law
from muster.fitting.optimum.cost import cost_of_rate
from muster.fitting.optimum.find import find_optima
from muster.fitting.optimum.quadratic import Optimum, Sweep, Window, _bracketed, fit_polynomial, other_vertex
from muster.fitting.optimum.scattered import minimum
from muster.fitting.optimum.surface import find_surface
from muster.statistics.censored import plane_given_sigma
from muster.statistics.fieller import vertex_se
from muster.statistics.linear import Estimate
from muster.statistics.wild_bootstrap import Replicates, interval_ends, webb_weights
from tests.unit.fitting import test_estimators, test_exponents, test_forms
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


@pytest.mark.parametrize("power", [1.0, 2.0, -1.0])
@pytest.mark.parametrize(("beside", "middle", "wide"), [((), 1 / 6, 10), ((Number(8.0),), 4, 30)])
def test_a_coefficient_is_looked_for_around_its_expected_size(power, beside, middle, wide):
    """Alone within a function: a tenth to ten over the spread of what it multiplies; beside others: a thirtieth to
    thirty of what makes both terms equal. To the power that the parameter has."""
    where = np.zeros((1, 1)), np.array([False]), np.array([[1.0, 2, 7]])
    found = _range(0, _Place(False, rest=Variable(0, False), power=power, beside=beside), {}, (0.0, np.inf), *where)
    ends = sorted([(middle / wide) ** (1 / power), (middle * wide) ** (1 / power)])
    assert found.at(np.array([0.0, 0.5, 1.0])) == pytest.approx([ends[0], middle ** (1 / power), ends[1]])


def test_thresholds_on_a_linear_scale_have_relative_errors():
    """Gaps of unequal relative width around 100 √width: weighted by 1/(se/x)²."""
    widths, half = np.array([1.0, 4, 16, 64, 256]), np.array([0.05, 0.3, 0.05, 0.2, 0.05])
    middle = 100 * widths**0.5 * np.exp([0.02, 0, -0.02, 0, 0.02])
    rows = pd.DataFrame(
        [(w, m * (1 + side * h), side > 0) for w, m, h in zip(widths, middle, half, strict=True) for side in (-1, 1)],
        columns=["width", "tokens", "solved"],
    )
    options = {"over": "tokens", "scale": "linear"}
    fit = FitConfig(estimator="threshold_exponent", response="solved", along="width", options=options)
    found = ESTIMATORS["threshold_exponent"].function(rows, fit).fits.set_index("variant")
    relative = 2 * half / np.sqrt(12)
    line = WLS(np.log(middle), np.vander(np.log(widths), 2), relative**-2.0).fit()
    assert found.loc["reml_kh", ["estimate", "se", "intercept"]].tolist() == pytest.approx(
        [line.params[0], line.bse[0], line.params[1]], rel=1e-3
    )


def test_clusters_change_errors_and_leave_the_line():
    rng = np.random.default_rng(0)
    design = np.column_stack([np.ones(40), rng.standard_normal((40, 2))])
    y = design @ [3.0, 0.5, -0.2] + 0.1 * rng.standard_normal(40)
    expected = np.linalg.solve(design.T @ design, design.T @ y)
    for column, name in enumerate(("first", "second"), start=1):
        found = coefficients(y, design, np.repeat(np.arange(8), 5), ["first", "second"])[name]
        assert set(found) == {"ols_t", "hc3", "cluster_t", "wild_cluster"}
        for variant, each in found.items():
            assert (each.estimate, each.intercept) == pytest.approx((expected[column], expected[0])), variant
            assert each.dof == (37 if variant in ("ols_t", "hc3") else 7)


@pytest.mark.parametrize(("spacing", "starts"), [(0.1, 1), (0.5, 1), (0.9, 2), (1.5, 3), (2.0, 4)])
def test_a_coarse_sweep_may_begin_at_each_rate_within_a_spacing(spacing, starts):
    """Of 15 rates half an octave apart; one at least."""
    table = test_estimators.sweep({"sp": 0.0}, start=-6.5, noise=1e-9)
    grid = table["log2_lr"].unique()
    assert (len(grid), np.diff(np.sort(grid)).min()) == (15, 0.5)
    fit = test_estimators.config("telescope", options={"spacing": spacing})
    row = test_estimators.run(table, fit).fits.iloc[0]
    assert row["note"].count(" after ") == starts
    assert f" of {15 * table['width'].nunique()}, at width" in row["note"]


def test_an_end_of_a_prediction_is_looked_for_up_to_thirteen_half_widths():
    """Rises that reach their goal between two distances that are tried, before the first, at the last, and nowhere."""
    at = np.array([1.0, 1.1, 1.25, 1.5, 2, 3, 5, 8, 13])
    for far in (0.5, 1, 1.2, 1.4, 1.7, 2.5, 4, 7, 10, 13):
        assert _crossing(at / far, 1.0) == pytest.approx(far)
    assert _crossing(at / 13.01, 1.0) == np.inf


@pytest.mark.parametrize(("dimensions", "note"), [((2, 4, 8, 12), "4 pairs"), ((4,), "1 pairs, 2 are needed")])
def test_the_note_of_a_difference_says_what_is_missing_only_where_something_is(dimensions, note):
    table = test_exponents.paired(0.0, dimensions=dimensions)
    assert set(test_exponents.difference(table)["note"]) == {note}


@pytest.mark.parametrize(("dimensions", "note"), [((2, 4, 8), ""), ((2, 4), "2 exponents, 3 are needed")])
def test_the_note_of_a_trend_says_what_is_missing_only_where_something_is(dimensions, note):
    found = test_exponents.trend(test_exponents.losses(lambda d: -4 / d, dimensions=dimensions))
    assert set(found["note"]) == {note}


def test_values_that_are_all_alike_have_no_error_and_the_degrees_of_freedom_of_a_mean():
    assert jackknife_error(np.ones(10)) == (0, 9)


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_an_optimum_between_the_neighbours_of_the_best_rate_by_hand(scale):
    """Through (−1, .5), (0, 0), (½, .3): y = a u + b u², a = .2333, b = .7333; its error is that of a uniform variable
    over 1.5 octaves, its basin is where the loss is at most .25 % higher, between the neighbours."""
    offset = np.array([-2.0, -1.0, 0.0, 0.5, 3.0])
    window = Window(-6.0, offset, scale * np.array([[4.0, 0.5, 0.0, 0.3, 9.0]]))
    found = _bracketed(Optimum(64.0, "flat", grid_best=-6.0), window, 1e-12)
    b, a = np.linalg.solve([[1, -1], [0.25, 0.5]], [0.5 * scale, 0.3 * scale])
    vertex, half = -a / (2 * b), np.sqrt(np.log(1.0025) / b)
    assert (found.status, found.asymmetric, found.ci_low, found.ci_high) == ("interior", True, -7.0, -5.5)
    assert (found.log2_lr, found.se, found.loss) == pytest.approx(
        (-6 + vertex, 1.5 / 12**0.5, np.exp(-(a**2) / (4 * b)))
    )
    expected = max(-6 + vertex - half, -7), min(-6 + vertex + half, -5.5)
    assert (found.basin_low, found.basin_high) == pytest.approx(expected)


@pytest.mark.parametrize("vertex", [-1.99, -1.0, 0.4, 2.0, 2.99])
def test_a_minimum_is_found_up_to_the_outermost_rates(vertex):
    offset = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
    fit = fit_polynomial(Window(0.0, offset, (offset[None] - vertex) ** 2), np.ones(5), 2)
    assert minimum(fit, offset, 0.0) == pytest.approx(vertex, abs=1e-9)


@pytest.mark.parametrize("vertex", [-2.1, 3.1])
def test_a_minimum_beyond_the_rates_is_none(vertex):
    offset = np.array([-2.0, -0.5, 0.0, 1.0, 3.0])
    fit = fit_polynomial(Window(0.0, offset, (offset[None] - vertex) ** 2), np.ones(5), 2)
    assert np.isnan(minimum(fit, offset, 0.0))


@pytest.mark.parametrize("rows", [1000, 1001])
def test_a_thousand_rows_are_left_out_in_turn_and_no_more(rows):
    x, y = np.tile([1.0, 2.0], rows)[None, :rows], np.ones(rows)
    y[7] = 1.5
    fit = fit_law(law_of_options(DeclaredOptions(form="A / x^alpha")), x, y)
    found = _influence(fit, Rows(x, y, None, pd.DataFrame({"run": range(rows)}), ["x"]))
    assert sorted(found) == ([] if rows > 1000 else ["a", "alpha"])


WHOLE = {
    "closed_form": "ks_gaussian_product over 4 shapes", "mean": "", "ordering": "12 pairs over 4 values of width",
    "interval_exponents": "", "isoflop": "", "lr_batch_surface": "3 of 3 cells interior", "regression": "",
    "slope_equality": "3 and 3 values of examples", "threshold_exponent": "",
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_the_note_of_a_whole_table_complains_of_nothing(name):
    of_others = test_estimators.FEWEST.get(name)
    fits = of_others(ESTIMATORS[name].min_points) if of_others else test_estimators.fitted(name).fits
    assert set(fits["note"]) == {WHOLE[name]}


X = Variable(0, signed=False)


@pytest.mark.parametrize(
    "outer",
    [Call(X, "exp"), product(3.0, [(Number(2.0), X)]), product(3.0, [(total([X, Number(1.0)]), Number(0.5))])],
    ids=["exp", "a number to a power", "a sum to a power"],
)
def test_what_surrounds_a_sum_is_taken_off_with_its_errors(outer):
    """Of the innermost sum's value, its derivative by ln y: the weights of the projection that begins a fit."""
    y, step = np.array([4.0, 12.0, 96.0]), 1e-6
    where = at(np.zeros((1, 0)), np.zeros(0, bool), np.ones((1, 3)))
    error = _peeled([outer], y, where)[1]
    beyond, before = (_peeled([outer], y * np.exp(by), where)[0] for by in (step, -step))
    assert error == pytest.approx(np.abs(beyond - before) / (2 * step), rel=1e-6)


def test_a_parameter_of_a_sum_within_a_function_is_looked_for_where_it_stands():
    """`log(1 + rate * x)`: its size is that of 1 / x, no exponent's."""
    rate = Parameter(0, signed=False)
    law = total(
        [Number(3.0), Logarithm(total([Number(1.0), product(1.0, [(rate, Number(1.0)), (X, Number(1.0))])]), 1.0)]
    )
    place = next(_places(law, 0))
    assert not place.exponent
    x = np.array([[1e6, 1e7, 1e8]])
    found = _range(0, place, {}, (0.0, np.inf), np.zeros((1, 1)), np.array([False]), x)
    assert found.low < 1e-7 < found.high < 1e-2


def test_a_vanished_coefficient_takes_its_own_coordinates_alone_with_it():
    """At A = 0 nothing is felt of A itself; a held offset is no coordinate of the fit. Another that no data feel says
    that more than A is unknown."""
    law = SimpleNamespace(parameters=("A", "B", "E"), bounds={"A": (0.0, 9.0), "B": (0.0, 9.0), "E": (0.0, 9.0)})
    felt = np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    held = np.array([True, True, False])
    assert _vanished(law, ("A",), felt, held) == ("A",)
    assert _vanished(law, ("A",), felt, np.ones(3, bool)) == ()


def test_three_points_that_bend_downwards_have_no_minimum():
    losses = np.array([[0.0, 0.5, 0.8, 0.9, 1.0]])
    window = Window(0.0, np.arange(5.0), losses)
    assert np.isnan(other_vertex(window, np.ones(5), 1.0, 2.0)).all()


def test_a_run_that_occurs_twice_is_named_and_refused():
    with pytest.raises(MusterError, match="the run 'b' occurs twice"):
        require_distinct_runs(pd.DataFrame({"run": ["a", "b", "c", "b"]}))
    require_distinct_runs(pd.DataFrame({"run": ["a", "b"]}))


def test_the_certificate_of_a_fit_is_the_cosine_of_score_and_column():
    """Columns of the Jacobian of any sign and size: |ψ·j| / (‖ψ‖ ‖j‖), the largest of the free ones."""
    rng = np.random.default_rng(3)
    residual, jacobian = rng.normal(size=(1, 7)), rng.normal(scale=3, size=(1, 7, 2))
    one = np.ones(1)
    state = _State(
        one.astype(int), residual, np.ones((1, 7)), np.zeros((1, 2)), residual, jacobian, 10 * one, one, one, one
    )
    found = _slope(state, Box(np.full(2, -9.0), np.full(2, 9.0), np.array([True, True])))
    norms = np.linalg.norm(jacobian[0], axis=0)
    np.testing.assert_allclose(found.length[0], norms)
    expected = np.abs(residual[0] @ jacobian[0]) / norms / np.linalg.norm(residual[0])
    np.testing.assert_allclose(found.cosine, expected.max())


def test_the_step_of_one_seed_has_the_error_of_two_losses_at_their_vertices():
    """Four widths, too few for a trend: residual variance pooled over the parabolas, times the leverage of a vertex."""
    table = test_estimators.sweep({"sp": -1.0}, noise=3e-3, seeds=1)
    fit = test_estimators.config("monotone", options={"best_over": "log2_lr"})
    rows = test_estimators.run(table, fit).fits.set_index("variant")
    squares, dof, leverage = 0.0, 0, []
    for each in shape_optima(table, fit, WindowOptions()):
        offset, loss = each.window.offset, each.window.mean
        b2, b1, _ = coefficients_of = np.polyfit(offset, loss, 2)
        design = np.vander(offset, 3)
        squares += float(np.square(loss - design @ coefficients_of).sum())
        dof += len(offset) - 3
        at = np.vander([-b1 / (2 * b2)], 3)[0]
        leverage.append(at @ np.linalg.inv(design.T @ design) @ at)
    steps = json.loads(rows.loc["worst_step", "diagnostics"])["components"]
    assert [step["dof"] for step in steps] == [dof] * 3
    expected = [np.sqrt(squares / dof * (a + b)) for a, b in pairwise(leverage)]
    assert [step["se"] for step in steps] == pytest.approx(expected, rel=1e-5)


def test_a_bootstrap_that_rejects_no_value_leaves_both_ends_open():
    """Replicates whose t is 0/0 count as ties at every hypothesis."""
    nothing = np.zeros(99)
    ends = interval_ends(Replicates(nothing, nothing, nothing, nothing, nothing), Estimate(0.3, 0.1, 4))
    assert ends == (-np.inf, np.inf)


def noisy_sweep(rates):
    rng = np.random.default_rng(5)
    return Sweep(64.0, rates, (0.02 * (rates + 6.3) ** 2 + 3e-3 * rng.standard_normal(len(rates)))[None])


def test_the_error_of_a_cost_is_that_of_a_square_root_by_differences():
    """√r = |β₁ + 2 β₂ u| / (2 √β₂), its gradient by the coefficients taken numerically."""
    sweep = noisy_sweep(np.arange(-9.0, -3.0))
    (found,) = find_optima([sweep])
    own, at = found.refit(), -5.1
    _, b1, b2 = own.beta

    def root(b1, b2):
        return abs(b1 + 2 * b2 * (at - found.grid_best)) / (2 * np.sqrt(b2))

    step = 1e-6
    gradient = [
        (root(b1 + step, b2) - root(b1 - step, b2)) / (2 * step),
        (root(b1, b2 + step * b2) - root(b1, b2 - step * b2)) / (2 * step * b2),
    ]
    scale = (found.se / vertex_se(own.beta, own.unscaled_cov)) ** 2
    part = cost_of_rate((at, 0.0), found, sweep, 0.0, own.dof)
    assert part.estimate == pytest.approx(root(b1, b2), rel=1e-9)
    assert part.se == pytest.approx(np.sqrt(gradient @ own.unscaled_cov[1:, 1:] @ gradient * scale), rel=1e-6)


def test_the_error_of_an_optimum_of_scattered_rates_is_its_half_interval_by_t():
    """Twelve rates within the window, one coefficient more than the parabola's: eight degrees of freedom."""
    (found,) = find_optima([noisy_sweep(np.sort(np.random.default_rng(6).uniform(-8, -4.6, 12)))])
    assert found.ci_low < found.log2_lr < found.ci_high
    quantile = stats.t.ppf(0.975, found.n_points - 4)
    assert found.se == pytest.approx((found.ci_high - found.ci_low) / (2 * quantile))


def test_the_slope_of_times_leaves_out_a_value_at_a_time_and_has_two_values_less():
    x = np.repeat(np.arange(6.0), 3)
    log_t = 0.3 * x + np.repeat([0.1, -0.2, 0.15, 0.05, -0.1, 0.0], 3)
    found = slope_lognormal(x, log_t, log_t)
    partial = [np.polyfit(x[x != value], log_t[x != value], 1)[0] for value in range(6)]
    assert found.dof == 6 - 2
    assert found.se == pytest.approx(np.sqrt(5 / 6 * np.square(np.subtract(partial, np.mean(partial))).sum()), rel=1e-5)


def test_few_starts_are_tried_as_they_are_before_others_around_them():
    starts = np.array([[1.0, -2.0], [30.0, 0.5]])
    found = _at_least(starts)
    assert len(found) == 10
    np.testing.assert_array_equal(found[:2], starts)
    assert (np.abs(found[2:] - np.tile(starts, (4, 1))) < 0.5 * np.maximum(np.abs(np.tile(starts, (4, 1))), 1)).all()


def test_the_note_of_a_difference_counts_rows_even_where_most_are_lost():
    x = np.arange(1.0, 9.0)
    rows = pd.DataFrame({"seed": 0, "width": np.r_[x, x], "arm": np.repeat(["a", "b"], 8), "loss": np.r_[x, x]})
    rows.loc[3:7, "loss"] = np.nan
    fit = FitConfig(
        estimator="slope_equality", response="loss", along="width", options={"a": {"arm": "a"}, "b": {"arm": "b"}}
    )
    notes = ESTIMATORS["slope_equality"].function(rows, fit).fits["note"]
    assert set(notes) == {"3 and 8 values of width, 5 rows left out (missing or diverged)"}


@pytest.mark.parametrize(("drop", "left"), [(0, 4), (1, 3), (3, 1), (4, 4), (5, 4)])
def test_the_largest_losses_are_left_out_where_others_remain(drop, left):
    rows = pd.DataFrame({"loss": [3.0, 1.0, 4.0, 2.0]})
    inside, held = _split(rows, "loss", LawOptions(drop_largest_losses=drop))
    assert (sorted(inside["loss"]), len(held)) == ([1.0, 2.0, 3.0, 4.0][:left], 0)


@pytest.mark.parametrize(
    ("low", "high", "inside"), [(1.0, 3.0, True), (2.5, 3.0, False), (-np.inf, 3.0, None), (1.0, np.inf, None)]
)
def test_a_run_is_in_an_interval_with_two_ends_or_nothing_is_known(low, high, inside):
    made = SimpleNamespace(low=np.array([low]), high=np.array([high]), centre=np.array([2.2]), notes=[""])
    held = SimpleNamespace(rows=pd.DataFrame({"run": ["r"], "x": [4.0]}), y=np.array([2.0]))
    found = held_rows(SimpleNamespace(held=held, made=made, labels=None), SimpleNamespace(along="x")).iloc[0]
    assert (None if pd.isna(found["inside"]) else bool(found["inside"])) is inside
