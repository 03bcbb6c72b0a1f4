"""Every registered transform on a few cells, and what it refuses."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.errors import MusterError
from muster.published.mapping import ColumnMapping, Documented
from muster.published.rows import transformed
from muster.published.transforms import TRANSFORMS, RowTransform, columns_in, evaluate
from muster.statistics.schedules import annealing_areas

DOCUMENTED = dict.fromkeys(Documented.model_fields, "unknown")
CELLS = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [8.0, 4.0, 2.0], "i": [2, 0, 1]})
COLUMNS: dict[str, tuple[Any, list[float]]] = {
    "product": (["a", "b", 10], [80, 80, 80]),
    "sum": (["a", "b", 1], [10, 7, 7]),
    "difference": (["a", "b"], [-7, -2, 2]),
    "ratio": (["b", "a"], [8, 2, 0.5]),
    "power": (["a", 2], [1, 4, 16]),
    "pow10": ("a", [10, 100, 10_000]),
    "log": ({"power": [np.e, "a"]}, [1, 2, 4]),
    "log2": ("a", [0, 1, 2]),
    "one_minus": ("a", [0, -1, -3]),
    "constant": (3, [3, 3, 3]),
    "choice": (["i", 5e-4, 0.1, "b"], [8, 5e-4, 0.1]),
}


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if not isinstance(TRANSFORMS[name], RowTransform)])
def test_a_transform_of_columns(name: str) -> None:
    arguments, expected = COLUMNS[name]
    np.testing.assert_allclose(evaluate({name: arguments}, CELLS, "t"), expected)
    assert TRANSFORMS[name].__doc__


@pytest.mark.parametrize("index", [-1, 3, 0.5, np.nan])
def test_a_choice_that_is_none_is_missing(index: float) -> None:
    assert np.isnan(evaluate({"choice": ["i", 1, 2, 3]}, pd.DataFrame({"i": [index]}), "t")[0])


def test_an_expression_tells_its_columns() -> None:
    assert columns_in({"ratio": ["a", {"product": [6, "b"]}]}) == ["a", "b"]
    assert columns_in({"constant": "a"}) == []


RUNS = pd.DataFrame(
    {
        "name": ["w8_s0", "w8_s0", "w8_s0", "w16_s0", "w16_s0", "w16_s1"],
        "step": [10, 30, 20, 10, 20, 10],
        "lr": [1.0, 0.5, 1.0, 1.0, 0.0, 1.0],
        "loss": [3.0, 2.0, 2.5, np.nan, 1.5, 1.75],
        "flops": [1.0, 3.0, 2.0, 2.0, 2.0, 4.0],
    }
)
ROWS: dict[str, tuple[Any, list[int]]] = {  # options, places of the rows that stay
    "extract": ({"column": "name", "pattern": "w(?P<width>[0-9]+)_s(?P<seed>[0-9]+)"}, [0, 1, 2, 3, 4, 5]),
    "last_step": ({"run": "name", "step": "step"}, [1, 4, 5]),
    "best_over": ({"by": "flops", "response": "loss"}, [0, 1, 4, 5]),
    "frontier": ({"x": "flops", "y": "loss"}, [0, 4]),
    "schedule_areas": ({"run": "name", "step": "step", "rate": "lr", "decay": 0.5}, [0, 1, 2, 3, 4, 5]),
    "add": ({"ppl": {"power": [2, "loss"]}, "twice": {"product": ["ppl", 2]}, "from": {"constant": "c4"}}, [*range(6)]),
    "keep": ({"loss": {"below": 2.25}, "step": [10, 20]}, [4, 5]),
}


def apply_one(name: str, options: Any, rows: pd.DataFrame = RUNS) -> pd.DataFrame:
    return transformed([{name: options}], rows, "t.csv")[0]


@pytest.mark.parametrize("name", ROWS)
def test_a_transform_of_rows_keeps_these(name: str) -> None:
    options, kept = ROWS[name]
    found = apply_one(name, options)
    assert list(found.index) == kept
    pd.testing.assert_frame_equal(found[[*RUNS]], RUNS.loc[kept])


def test_every_transform_of_rows_is_tested() -> None:
    registered = {name for name in TRANSFORMS if isinstance(TRANSFORMS[name], RowTransform)}
    assert registered == {*ROWS, "columns_to_rows"}


def test_extracted_texts_that_are_numbers_are_numbers() -> None:
    found = apply_one("extract", {"column": "name", "pattern": "(?P<kind>[a-z])(?P<width>[0-9]+)_s1|_(?P<rest>s0)"})
    assert found["width"].tolist()[5] == 16
    assert found["width"].isna().sum() == 5
    assert found["rest"].tolist()[:2] == ["s0", "s0"]


def test_a_wide_table_becomes_a_row_for_each_of_its_cells() -> None:
    wide = pd.DataFrame({"size": [1, 2], "loss_10B": [3.0, 2.0], "note": ["a", "b"], "loss_20B": [2.5, np.nan]})
    found = apply_one("columns_to_rows", {"columns": "loss_(?P<tokens>[0-9]+)B", "value": "loss"}, wide)
    assert [*found] == ["size", "note", "loss", "tokens"]
    assert found.values.tolist() == [[1, "a", 3.0, 10], [1, "a", 2.5, 20], [2, "b", 2.0, 10]]


def test_last_rows_are_averaged_where_asked_whatever_the_order() -> None:
    found = apply_one("last_step", {"run": ["name"], "step": "step", "mean": {"loss": 2, "lr": 9}})
    assert found["loss"].tolist() == [2.25, 1.5, 1.75]  # a missing loss is no row of the mean
    np.testing.assert_allclose(found["lr"], [2.5 / 3, 0.5, 1.0])
    assert found["step"].tolist() == [30, 20, 10]
    assert apply_one("last_step", {"run": "name"})["step"].tolist() == [20, 20, 10]


def test_the_best_may_be_the_largest_and_a_frontier_is_of_its_group() -> None:
    assert apply_one("best_over", {"by": ["flops"], "response": "loss", "largest": True}).index.tolist() == [0, 1, 2, 5]
    assert apply_one("frontier", {"x": "flops", "y": "loss", "by": ["name"]}).index.tolist() == [0, 1, 2, 4, 5]


def test_the_frontier_is_what_no_row_beats() -> None:
    draw = np.random.default_rng(0)
    rows = pd.DataFrame({"x": draw.integers(1, 9, 60), "y": draw.integers(1, 12, 60) / 7})
    kept = {*apply_one("frontier", {"x": "x", "y": "y"}, rows).index}
    for i, (x, y) in rows.iterrows():
        others = rows.drop(i)
        others = others[others["x"] <= x]
        beaten = (others["y"] < y).any() or ((others["y"] == y) & ((others["x"] < x) | (others.index < i))).any()
        assert (i in kept) == (not beaten)


def test_areas_are_those_of_the_schedule_at_every_step() -> None:
    rates = np.concatenate([np.full(50, 2.0), np.linspace(2.0, 0.0, 51)])
    logged = np.array([0, 50, 75, 100])
    rows = pd.DataFrame({"run": "a", "step": logged, "lr": rates[logged], "S": 0})[::-1]
    found = apply_one(
        "schedule_areas", {"run": "run", "step": "step", "rate": "lr", "decay": 0.9, "forward": "A"}, rows
    )
    s1, s2 = annealing_areas(rates, 0.9)
    np.testing.assert_allclose(found["A"][::-1], s1[logged])
    np.testing.assert_allclose(found["s2"][::-1], s2[logged])


def test_steps_follow_each_other_and_what_they_remove_is_counted() -> None:
    steps = [
        {"extract": {"column": "name", "pattern": "w(?P<width>[0-9]+)"}},
        {"keep": {"width": 16}},
        {"best_over": {"by": "width", "response": "loss"}},
    ]
    found, changed = transformed(steps, RUNS, "t.csv")
    assert found.index.tolist() == [4]
    assert changed == {"rows.0.extract": 0, "rows.1.keep": 3, "rows.2.best_over": 2}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("best_over", {"by": ["size", "nam"], "response": "los"},
         r"rows\.0\.best_over: the source has no column 'size'.*column 'nam'\. Did you mean 'name'.*column 'los'"),
        ("add", {"c": {"product": ["d", "lr"]}, "e": {"log": "c"}}, "has no column 'd'"),
        ("keep", {"loss": {"above": 9}}, r"rows\.0\.keep: none of 6 rows is left"),
        ("last_step", {"run": "step", "step": "name"}, r"last_step: 'w8_s0' in row 1 of 'name' is not a number"),
        ("extract", {"column": "name", "pattern": "x(?P<width>[0-9]+)"}, "no text of 'name' holds .* first is 'w8_s0'"),
        ("extract", {"column": "name", "pattern": "w(?P<step>[0-9]+)"}, "there is a column 'step' already"),
        ("columns_to_rows", {"columns": "l(?P<x>.)", "value": "step"}, "there is a column 'step' already"),
        ("columns_to_rows", {"columns": "q(?P<x>.)", "value": "v"}, "no column's name matches"),
        ("schedule_areas", {"run": "name", "step": "loss", "rate": "lr", "decay": 0.5}, "no whole steps"),
    ],
)  # fmt: skip
def test_a_step_that_does_not_fit_the_table_says_so(name: str, options: Any, said: str) -> None:
    with pytest.raises(MusterError, match=said):
        apply_one(name, options)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rows": []}, "at least 1 item"),
        ({"rows": ["frontier"]}, "One transform of rows, such as"),
        ({"rows": [{"frontie": {}}]}, "unknown transform of rows 'frontie'. Did you mean 'frontier'"),
        ({"rows": [{"log2": "a"}]}, "log2 works on columns: write it in `add`, or under `columns`"),
        ({"rows": [{"frontier": {"x": "a"}}]}, "frontier: y: Field required. Options: x: The cost"),
        ({"rows": [{"last_step": {"run": "a", "mean": {"b": 0}}}]}, r"last_step: mean\.b: Input should be greater"),
        ({"rows": [{"extract": {"column": "a", "pattern": "[0-9]+"}}]}, "name what it finds"),
        ({"rows": [{"extract": {"column": "a", "pattern": "(?P<a>"}}]}, "no regular expression"),
        ({"rows": [{"keep": {"a": {"over": 1}}}]}, "keep: filters.a"),
        ({"rows": [{"add": {"a": {"frontier": 1}}}]}, "frontier works on whole rows"),
        ({"columns": {"tokens": {"last_step": "a"}}}, "last_step works on whole rows: write it in the list `rows`"),
        ({"columns": {"tokens": {"sum": ["a", {"constant": "b"}]}}}, "sum takes no text: 'b'"),
    ],
)
def test_a_step_that_cannot_be_right_is_refused_before_any_file_is_read(fields: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ColumnMapping.model_validate({"columns": {"tokens": "a"}, "documented": DOCUMENTED} | fields)
