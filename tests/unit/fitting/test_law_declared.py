"""Laws written as formulas: what is read, values and gradients, coordinates, starts, and fits like those of code."""

import numpy as np
import pandas as pd
import pytest
import torch

from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, parse_options
from muster.fitting.laws import formula
from muster.fitting.laws.base import LAWS
from muster.fitting.laws.declared import Declaration, declare
from muster.fitting.laws.law import DeclaredOptions, fit_form, law_of, law_of_options
from muster.fitting.laws.solve import fit_law

JOINT = Declaration("E + A / parameters^alpha + B / tokens^beta", ("parameters", "tokens"))


def joint_table(rows=30, noise=0.01, seed=4):
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform([[7], [8.5]], [[10], [11.5]], (2, rows))
    y = (1.8 + 400 * n**-0.35 + 4000 * d**-0.4) * np.exp(noise * rng.standard_normal(rows))
    return pd.DataFrame({"parameters": n, "tokens": d, "final_eval_loss": y})


# Form → variables with values [V][R], natural values of the parameters, signed names, and the same in torch.
FORMS = {
    "E + A/N^p + B/D^q": ({"N": [1e7, 1e9], "D": [1e9, 1e11]}, {"E": 1.7, "A": 400, "p": 0.34, "B": 2e3, "q": 0.4}, ""),
    "E - A/N^p + B/D^q": ({"N": [10, 20], "D": [5, 6]}, {"E": 3, "A": 0.5, "p": 1.0, "B": 0.3, "q": 0.4}, ""),
    "((Nc/N)^(aN/aD) + Dc/D)^aD": (
        {"N": [1e7, 1e9], "D": [1e9, 1e11]}, {"Nc": 9e13, "aN": 0.08, "aD": 0.1, "Dc": 5e13}, ""),
    "e + k * sigmoid(s * (L - m))": ({"L": [1.5, 4.0]}, {"e": 0.05, "k": 0.8, "s": 2.5, "m": 3.0}, ""),
    "e - k * exp(-g * L)": ({"L": [2.5, 4.0]}, {"e": 0.9, "k": 2.0, "g": 0.7}, ""),
    "b * N^-c * (1 + (N/d)^(1/f))^(-h*f)": ({"N": [1e3, 1e8]}, {"b": 8, "c": 0.1, "d": 3e5, "f": 0.3, "h": 0.25}, ""),
    "10^(p + q*log10(N) + r*log10(N)*log10(M))": (
        {"N": [1e7, 1e9], "M": [2.0, 64.0]}, {"p": 1.1, "q": -0.08, "r": 0.01}, "pqr"),
    "l + A*S^-p - C*T": ({"S": [2.0, 9.0], "T": [-0.2, 1.2]}, {"l": 2.6, "A": 0.4, "p": 0.5, "C": 0.4}, "cT"),
    "E + (A / (N * (1 + k*log(P))))^p": (
        {"N": [5e8, 4e9], "P": [1.0, 8.0]}, {"E": 0.7, "A": 1e7, "k": 0.4, "p": 0.2}, ""),
    "E + max(A/N^p, B/D^q) + min(N/w, 2)": (
        {"N": [1e2, 1e4], "D": [3e3, 1e3]}, {"E": 1.7, "A": 4, "p": 0.5, "B": 9, "q": 0.4, "w": 3e2}, ""),
    "(E + A/N^p) * (1 + B/D^q) * u^s": (
        {"N": [1e3, 1e5], "D": [2e3, 1e6], "u": [0.5, 3]}, {"E": 2, "A": 4, "p": 0.5, "B": 9, "q": 0.4, "s": 0.3}, ""),
    "sqrt(E^2 + A * exp(-N / w)) * (1 + t)^2": ({"N": [1e2, 1e3]}, {"E": 1.2, "A": 3.0, "w": 4e2, "t": -0.2}, "t"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_values_and_gradients_are_those_of_autograd(form):
    columns, natural, signed = FORMS[form]
    law = declare("law", Declaration(form, tuple(columns), signed=tuple(signed)))
    x = np.array([columns[name] for name in law.variables])
    values = np.array([[float(natural[name]) for name in natural]])
    assert law.parameters == tuple(name.lower() for name in natural)
    theta = law.from_natural(values)
    found, gradient = law.log_value(np.concatenate([theta, theta + 0.01]), x)
    names = {name: getattr(torch, name) for name in ("exp", "log", "log10", "sqrt", "sigmoid")}
    names |= {"max": torch.maximum, "min": lambda a, b: torch.minimum(a, torch.tensor(b))}
    for r in range(x.shape[1]):
        at = {
            name: torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for name, value in natural.items()
        }
        row = {name: torch.tensor(column[r], dtype=torch.float64) for name, column in columns.items()}
        value = torch.log(eval(form.replace("^", "**"), {**names, **at, **row}))
        value.backward()
        slopes = np.array([float(each.grad) for each in at.values()])
        step = 1e-6  # of θ: what one unit of it is in natural values
        scale = (law.to_natural(theta + step) - law.to_natural(theta - step))[0] / (2 * step)
        assert found[0, r] == pytest.approx(value.item(), rel=1e-12)
        assert gradient[0, r] == pytest.approx(slopes * scale, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("E + A / N^", r"no formula \(invalid syntax\)"),
        ("E + __import__('os').system('ls')", "not allowed"),
        ("E + N.real", "not allowed"),
        ("E + N[0]", "not allowed"),
        ("E + (lambda: N)()", "not allowed"),
        ("E + 'N'", "not allowed"),
        ("E + True * N", "not allowed"),
        ("E if N else A", "not allowed"),
        ("E + N % 2", "not allowed"),
        ("E + cosh(N)", "not allowed"),
        ("E + log(N, 2)", "needs 1 argument"),
        ("E + max(*N)", "needs 2 arguments"),
        ("E + A * (-N)^b", "may be negative"),
        ("E + N^(10^400.0^2)", "out of range"),
        ("E + " + "-" * 200 + "N", "nested too deeply"),
        ("E + " + "(" * 900 + "N" + ")" * 900, "no formula"),
        ("E + N" * 1000, "at most"),
    ],
)
def test_what_is_no_formula_is_refused(form, said):
    with pytest.raises(MusterError, match=said) as refused:
        declare("law", Declaration(form, ("N",)))
    assert refused.value.place == "options.form"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "E + A / size^a"}, "has no variable"),
        ({"form": "E + A / parameters^a", "variables": ["size"]}, "does not stand in the form"),
        ({"form": "parameters / tokens"}, "has no parameter"),
        ({"form": "E + A / parameters^a"}, "in case only"),
        ({"form": "E + A / parameters^alpha", "signed": ["b"]}, "does not stand in the form"),
        ({"form": "E + A / parameters^alpha", "bounds": {"beta": [0, 1]}}, "has no 'beta'"),
        ({"form": "E + A / parameters^alpha", "starts": {"beta": [1]}}, "has no 'beta'"),
        ({"form": "E + A / parameters^alpha", "derived": {"half": "beta / 2"}}, "has no parameter 'beta'"),
        ({"form": "E + A / parameters^alpha", "derived": {"half": "alpha.real"}}, "not allowed"),
    ],
)
def test_options_that_do_not_fit_the_form_are_named(options, said):
    with pytest.raises(MusterError, match=said):
        law_of_options(DeclaredOptions(**options))


def test_a_declared_joint_law_is_that_of_the_code():
    """The same starts, coordinates, bounds and minimum to the digits that a fit shows."""
    coded, law = LAWS["joint_law"], declare("law", JOINT)
    table = joint_table()
    x, y = table[["parameters", "tokens"]].to_numpy().T, table["final_eval_loss"].to_numpy()
    at = [coded.parameters.index(name) for name in law.parameters]
    assert law.starts(x, y) == pytest.approx(coded.starts(x, y)[:, at], rel=1e-12)
    assert law.bounds == {name: coded.bounds[name] for name in law.parameters}
    found, expected = fit_law(law, x, y, delta=1e-3), fit_law(coded, x, y, delta=1e-3)
    assert found.certificate.converged
    assert found.natural == pytest.approx(expected.natural, rel=1e-7)
    assert found.objective == pytest.approx(expected.objective, rel=1e-10)


def test_the_estimator_gives_the_numbers_of_the_coded_one():
    """Intervals too: the bootstrap draws the same rows, and its coordinates are the same."""
    table = joint_table()
    options = {"delta": 1e-3, "replicates": 100, "thorough": False}
    vector = {"alpha": 0.35, "beta": 0.4}
    fit = FitConfig(estimator="joint_law", response="final_eval_loss", along="parameters",
                    options={**options, "published": {"truth": vector}})  # fmt: skip
    coded = ESTIMATORS["joint_law"].function(table, fit).fits.set_index("parameter")
    declared = {"form": JOINT.form, "derived": {"compute_exponent": "beta / (alpha + beta)"}}
    fit = fit.model_copy(update={"estimator": "law", "options": {**fit.options, **declared}})
    found = ESTIMATORS["law"].function(table, fit).fits.set_index("parameter")
    names = ["alpha", "beta", "e", "a", "b", "compute_exponent", "wald_truth", "reproduced_truth"]
    assert set(ESTIMATORS["law"].numbers(fit)) == set(found.index) == set(names)
    for column in ("estimate", "se", "ci_low", "ci_high"):
        expected = coded.loc[names, column].to_numpy(float)
        assert found.loc[names, column].to_numpy(float) == pytest.approx(expected, rel=1e-5)
    assert (found.loc[names, "status"] == coded.loc[names, "status"]).all()


@pytest.mark.parametrize(
    ("form", "columns", "truth", "options"),
    [
        ("eps + k * sigmoid(s * (L - m))", {"L": np.linspace(1.5, 5, 60)},
         {"eps": 0.05, "k": 0.75, "s": 3, "m": 2.8}, {}),
        ("((Nc/N)^(aN/aD) + Dc/D)^aD", {"N": np.geomspace(1e6, 1e9, 60), "D": np.tile(np.geomspace(1e8, 1e11, 12), 5)},
         {"nc": 9e13, "an": 0.08, "ad": 0.1, "dc": 5e13}, {}),
        ("exp(a + b*log(N))", {"N": np.geomspace(1e6, 1e9, 40)}, {"a": 2.0, "b": -0.1}, {"signed": ["a", "b"]}),
        ("E + A*(S + w)^-r", {"S": np.geomspace(1, 1e4, 60)}, {"e": 1.5, "a": 9, "w": 20, "r": 0.5}, {}),
    ],
)  # fmt: skip
def test_starts_are_found_for_laws_of_any_form(form, columns, truth, options):
    table = pd.DataFrame(columns)
    given = DeclaredOptions(form=form, variables=list(columns), **options)
    law = law_of_options(given)
    x = table[list(law.variables)].to_numpy().T
    y = law.predict(np.array([truth[name] for name in law.parameters]), x)
    y = y * np.exp(1e-4 * np.random.default_rng(0).standard_normal(len(y)))
    fit = fit_law(law, x, y)
    assert len(law.starts(x, y)) >= 9
    assert fit.certificate.converged
    assert fit.natural == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize(
    ("form", "told", "signed", "truth"),
    [
        ("E + A / N^p", {"p": [0.5]}, [], {"e": 2.0, "a": 3.0, "p": 0.5}),
        ("E + (A / N)^p", {"p": [0.5]}, [], {"e": 2.0, "a": 3.0, "p": 0.5}),
        ("(E + A / N)^p", {"p": [2.0]}, [], {"e": 2.0, "a": 3.0, "p": 2.0}),
        ("3 * (E + A / N)^p", {"p": [2.0]}, [], {"e": 2.0, "a": 3.0, "p": 2.0}),
        ("10^(p + q*log10(N))", {}, ["p", "q"], {"p": 1.1, "q": -0.3}),
        ("exp(a + b / N)", {}, [], {"a": 0.3, "b": 2.0}),
    ],
)
def test_a_start_is_the_solution_where_all_that_is_not_linear_is_told(form, told, signed, truth):
    """Without noise: powers and exponentials around the sum are taken off, and least squares is exact."""
    law = law_of_options(DeclaredOptions(form=form, variables=["N"], starts=told, signed=signed))
    x, theta = np.geomspace(1, 20, 9)[None], law.from_natural(np.array([[truth[name] for name in law.parameters]]))
    starts = law.starts(x, np.exp(law.log_value(theta, x)[0][0]))
    assert np.abs(starts - theta).max(axis=1).min() < 1e-9


def test_the_law_of_a_fit_is_the_registered_or_the_declared_one_or_none():
    def of(estimator, **options):
        return law_of(FitConfig(estimator=estimator, response="loss", options=options))

    assert of("joint_law") is LAWS["joint_law"]
    assert of("law", form="A / parameters^p").parameters == ("a", "p")
    assert of("lr_transfer") is None


def test_a_table_of_ones_own_needs_a_formula_only():
    """Names that are columns are variables; groups and selections as in a study."""
    table = joint_table().rename(columns={"parameters": "N", "tokens": "D"})
    table["kind"] = np.arange(len(table)) % 2
    found = fit_form(table, "E + A/N^alpha + B/D^beta", "final_eval_loss", by=["kind"], replicates=100, thorough=False)
    fits = found.fits
    assert sorted(fits["group"].unique()) == ['{"kind": 0}', '{"kind": 1}']
    assert set(fits["parameter"]) == {"e", "a", "alpha", "b", "beta"}
    with pytest.raises(MusterError, match="has no variable"):
        fit_form(table, "E + A/size^alpha", "final_eval_loss")


def test_a_parameter_that_is_a_column_is_asked_about():
    table = joint_table().assign(E=1.0)
    fit = FitConfig(estimator="law", response="final_eval_loss", along="parameters", options={"form": JOINT.form})
    with pytest.raises(MusterError, match="'E' is a column of the table"):
        ESTIMATORS["law"].function(table, fit)


def test_a_declared_variable_may_be_signed():
    """Where a law turns negative, its logarithm goes on: a descent comes back from there."""
    law = law_of_options(DeclaredOptions(form="l + A*S^-a2 - C*T", variables=["S", "T"], signed=["T"]))
    assert law.signed == ("T",)
    value, gradient = law.log_value(law.from_natural(np.array([[1.0, 1.0, 0.5, 9.0]])), np.array([[4.0], [1.0]]))
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


def test_ties_and_bounds():
    law = law_of_options(
        DeclaredOptions(form="E + A/parameters^alpha + B/tokens^alpha", bounds={"alpha": (0.1, 0.6)}, fixed={"E": 1.5})
    )
    assert law.parameters == ("e", "a", "alpha", "b")
    assert law.bounds["alpha"] == (0.1, 0.6)
    fit = FitConfig(estimator="law", response="y", options={"form": "E + x", "fixed": {"E": 1.0}})
    assert parse_options(DeclaredOptions, fit).fixed == {"e": 1.0}


def test_derived_numbers_may_be_of_either_sign():
    law = law_of_options(
        DeclaredOptions(form="exp(p + q*log(parameters))", signed=["p", "q"], derived={"size": "-P / max(q, -9)"})
    )
    assert law.derived["size"](np.array([[2.0, -0.5], [-1.0, -0.25]])) == pytest.approx([4.0, -4.0])
    assert formula.evaluate("sigmoid(a) + sqrt(b)", {"a": np.zeros(1), "b": np.ones(1)}) == pytest.approx([1.5])
