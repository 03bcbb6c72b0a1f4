"""Columns, filters and checks: what a row of a published table becomes, and what is refused with its place."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from muster.errors import MusterError
from muster.published.mapping import ColumnMapping, Documented, Mapped, apply

DOCUMENTED = dict.fromkeys(Documented.model_fields, "unknown")
SOURCE = pd.DataFrame(
    {
        "size": [1e6, 2e6, 4e6, 8e6],
        "flop": [6e15, 2.4e16, 9.6e16, 3.84e17],
        "loss": [3.0, 2.5, 2.25, 2.125],
        "lr": [2.0**-8, 2.0**-9, 2.0**-10, 2.0**-11],
        "data": ["c4", "c4", "pile", "pile"],
        "id": ["a", "b", "c", "d"],
    }
)
SIZES = {"parameters": "size", "final_eval_loss": "loss"}


def mapped(columns: dict[str, Any], source: pd.DataFrame = SOURCE, **fields: Any) -> Mapped:
    mapping = ColumnMapping.model_validate({"columns": columns, "documented": DOCUMENTED} | fields)
    return apply(mapping, source, "t.csv")


def test_transforms_of_columns_and_numbers_nest() -> None:
    runs = mapped(
        {
            **SIZES,
            "tokens": {"ratio": ["flop", {"product": [6, "size"]}]},
            "log2_lr": {"log2": "lr"},
            "log2_batch": {"log2": {"product": [0.5, 64]}},
            "seed": {"constant": 3},
            "dataset": "data",
        }
    ).runs
    np.testing.assert_allclose(runs["tokens"], [1e9, 2e9, 4e9, 8e9])
    assert list(runs["log2_lr"]) == [-8, -9, -10, -11]
    assert set(runs["log2_batch"]) == {5.0}
    assert set(runs["seed"]) == {3}
    assert list(runs["dataset"]) == ["c4", "c4", "pile", "pile"]


def test_runs_are_numbered_by_row_of_the_source_whatever_the_filters() -> None:
    assert list(mapped(SIZES).runs["run"]) == ["r00001", "r00002", "r00003", "r00004"]
    assert list(mapped(SIZES, filters={"data": "pile"}).runs["run"]) == ["r00003", "r00004"]
    assert list(mapped({**SIZES, "run": "id"}).runs["run"]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("b", "b"),
        (["a", "d"], "ad"),
        ({"other_than": ["a"]}, "bcd"),
    ],
)
def test_filters_on_text(condition: Any, kept: str) -> None:
    assert "".join(mapped({**SIZES, "run": "id"}, filters={"id": condition}).runs["run"]) == kept


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"above": 2.25}, "ab"),
        ({"at_least": 2.25}, "abc"),
        ({"below": 2.25}, "d"),
        ({"at_most": 2.25}, "cd"),
        ({"above": 2.125, "below": 3.0}, "bc"),
        (2.5, "b"),
    ],
)
def test_filters_on_numbers(condition: Any, kept: str) -> None:
    assert "".join(mapped({**SIZES, "run": "id"}, filters={"loss": condition}).runs["run"]) == kept


def test_missing_cells_satisfy_no_condition_but_known_false() -> None:
    source = SOURCE.assign(extra=[1.0, np.nan, 3.0, np.nan])
    columns = {**SIZES, "run": "id"}
    assert list(mapped(columns, source, filters={"extra": {"above": 0}}).runs["run"]) == ["a", "c"]
    assert list(mapped(columns, source, filters={"extra": {"other_than": [1.0]}}).runs["run"]) == ["c"]
    assert list(mapped(columns, source, filters={"extra": {"known": True}}).runs["run"]) == ["a", "c"]
    assert list(mapped(columns, source, filters={"extra": {"known": False}}).runs["run"]) == ["b", "d"]


def test_what_filters_remove_is_counted() -> None:
    removed = mapped(SIZES, filters={"data": "c4", "loss": {"below": 2.75}, "size": {"above": 0}}).removed
    assert removed == {"filters.data": 2, "filters.loss": 1}


def test_repeated_rows_are_refused_kept_or_dropped() -> None:
    double = pd.concat([SOURCE, SOURCE.iloc[[1]]], ignore_index=True)
    with pytest.raises(MusterError, match=r"t\.csv: repeated_rows: 1 rows repeat an earlier one \(row 5\)"):
        mapped(SIZES, double)
    assert len(mapped(SIZES, double, repeated_rows="keep").runs) == 5
    dropped = mapped(SIZES, double, repeated_rows="drop")
    assert (len(dropped.runs), dropped.removed) == (4, {"repeated_rows": 1})


def with_cell(column: str, value: Any, row: int = 2) -> pd.DataFrame:
    source = SOURCE.astype({column: object})
    source.loc[row, column] = value
    return source.infer_objects()


@pytest.mark.parametrize(
    ("source", "columns", "said"),
    [
        (SOURCE, {"final_eval_loss": "los"}, "columns.final_eval_loss: the source has no column 'los'. Did you mean"),
        (SOURCE, {"tokens": {"product": ["size", "toks"]}}, "columns.tokens: the source has no column 'toks'"),
        (with_cell("loss", "n/a?"), SIZES, "'n/a?' in row 3 of 'loss' is not a number"),
        (with_cell("loss", np.nan), SIZES, "columns.final_eval_loss: nan in row 3 is missing or not finite"),
        (with_cell("loss", np.inf), SIZES, "columns.final_eval_loss: inf in row 3 is missing or not finite"),
        (with_cell("loss", -1.0), SIZES, "columns.final_eval_loss: -1 in row 3 is not positive"),
        (with_cell("size", 0), SIZES, "columns.parameters: 0 in row 3 is not positive"),
        (with_cell("size", 2.81), SIZES, "columns.parameters: 2.81 in row 3 is no whole number; for billions"),
        (with_cell("lr", 0.0), {"log2_lr": {"log2": "lr"}}, "columns.log2_lr: -inf in row 3 is missing or not finite"),
        (with_cell("flop", np.inf), {"note": "flop"}, "columns.note: inf in row 3 is infinite"),
        (with_cell("id", "a"), {**SIZES, "run": "id"}, "columns.run: the run 'a' stands again in row 3"),
    ],
)
def test_a_wrong_cell_is_refused_with_file_field_and_row(source: pd.DataFrame, columns: Any, said: str) -> None:
    with pytest.raises(MusterError) as error:
        mapped(columns, source)
    assert str(error.value).startswith("t.csv: columns.")
    assert said in str(error.value)


def test_a_diverged_run_needs_no_loss() -> None:
    source = with_cell("loss", np.nan).assign(lost=[False, False, True, False])
    assert mapped({**SIZES, "diverged": "lost"}, source).runs["diverged"].sum() == 1
    with pytest.raises(MusterError, match=r"columns\.final_eval_loss"):
        mapped({**SIZES, "diverged": "lost"}, with_cell("loss", np.nan).assign(lost=False))


def test_a_filter_mends_what_the_checks_refuse() -> None:
    runs = mapped(SIZES, with_cell("loss", -1.0), filters={"loss": {"above": 0}}).runs
    assert len(runs) == 3


def test_a_truth_value_in_place_of_a_text_is_told_to_be_quoted() -> None:
    tuned = SOURCE.assign(tuned=["no", "yes", "no", None], kept=[True, False, True, True])
    assert len(mapped(SIZES, tuned, filters={"tuned": "no"}).runs) == 2
    assert len(mapped(SIZES, tuned, filters={"kept": False}).runs) == 1
    for wrong in (False, [True, False]):
        with pytest.raises(MusterError, match=r"filters\.tuned: found (True|False) for a column of texts"):
            mapped(SIZES, tuned, filters={"tuned": wrong})


def test_all_columns_and_cells_that_are_wrong_are_told_at_once() -> None:
    columns = {"tokens": {"product": ["siz", 2]}, "seed": "sed", "dataset": "data"}
    with pytest.raises(MusterError) as error:
        mapped(columns, filters={"dat": "c4"})
    fields = [mistake.place for mistake in error.value.mistakes]
    assert fields == ["t.csv: filters.dat", "t.csv: columns.tokens", "t.csv: columns.seed"]
    with pytest.raises(MusterError) as error:
        mapped({"tokens": "id", "flops": "data", "seed": {"constant": 1}})
    assert [mistake.place for mistake in error.value.mistakes] == ["t.csv: columns.tokens", "t.csv: columns.flops"]


def test_rows_are_transformed_before_filters_and_columns() -> None:
    found = mapped(
        {"parameters": "size", "final_eval_loss": "loss", "error": "rate", "corpus": {"constant": "web"}},
        rows=[
            {"add": {"rate": {"one_minus": {"ratio": [1, "loss"]}}}},
            {"best_over": {"by": "data", "response": "loss"}},
        ],
        filters={"rate": {"above": 0.54}},
    )
    assert found.runs.drop(columns="final_eval_loss").to_dict("list") == {
        "run": ["r00002"], "parameters": [2e6], "error": [0.6], "corpus": ["web"],
    }  # fmt: skip
    assert found.removed == {"rows.1.best_over": 2, "filters.rate": 1}


def test_filters_that_keep_nothing_or_name_no_column_are_refused() -> None:
    with pytest.raises(MusterError, match=r"t\.csv: filters: none of 4 rows is kept"):
        mapped(SIZES, filters={"data": "nowhere"})
    with pytest.raises(MusterError, match=r"t\.csv: filters\.dat: the source has no column"):
        mapped(SIZES, filters={"dat": "c4"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"columns": {"tokens": {"tangent": ["a", 2]}}}, "unknown transform 'tangent'"),
        ({"columns": {"tokens": {"ratio": ["a"]}}}, "ratio takes 2"),
        ({"columns": {"tokens": {"product": ["a", {"log2": ["b", "c"]}]}}}, "log2 takes 1"),
        ({"columns": {"tokens": ["a"]}}, "one transform such as"),
        ({"columns": {"tokens": True}}, "put it in quotes, since YAML takes yes, no"),
        ({"columns": {"study": "a"}}, "filled in by muster"),
        ({"columns": {}}, "at least 1 item"),
        ({"columns": SIZES, "filters": {"a": {"over": 1}}}, "over"),
        ({"columns": SIZES, "documented": {"split": "test"}}, "parameter_count"),
        ({"columns": SIZES, "documented": DOCUMENTED | {"split": ""}}, "split"),
    ],
)
def test_a_mapping_that_cannot_be_right_is_refused_before_any_file_is_read(fields: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ColumnMapping.model_validate({"documented": DOCUMENTED} | fields)
