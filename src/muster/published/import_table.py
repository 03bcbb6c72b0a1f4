"""The experiment `import`: one published table becomes the runs of one cell. No training; seconds.

A table that is not there leaves an empty cell and the reason: its claims are then `not run`, and nothing else stops.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from muster.columns import COLUMNS
from muster.config.load import nearest
from muster.config.models import Name
from muster.errors import MusterError, Unavailable, redacted
from muster.experiments import EXPERIMENTS, Context, Cost, Example, Experiment, Job, Outcome
from muster.published.mapping import RUN, ColumnMapping, apply
from muster.published.source import Obtained, Source, obtain
from muster.published.transforms import TRANSFORMS

if TYPE_CHECKING:
    import pandas as pd

FILL: dict[str, Any] = {"diverged": False, "steps": 0, "parameters": 0}  # what is not mapped; all else is unknown


class Table(Source, ColumnMapping):
    """A published table and how its rows become runs."""


class ImportCell(Job):
    """One table of a study; its key columns are `source` and `run`."""

    key_axes: ClassVar[tuple[str, ...]] = ("source",)

    source: Name = Field(description="The table of this cell: one of `sources`")
    sources: dict[Name, Table] = Field(
        description="Name → address, sha256, licence, file, reader, columns, filters, documented"
    )

    @model_validator(mode="before")
    @classmethod
    def _own_table(cls, values: Any) -> Any:
        """Only its own table is part of a cell: a change of another leaves it as it is."""
        if isinstance(values, dict) and isinstance(values.get("sources"), dict) and "source" in values:
            name, sources = values["source"], values["sources"]
            if name not in sources:
                raise MusterError("source", f"unknown source {name!r}", nearest(name, sources))
            return {**values, "sources": {name: sources[name]}}
        return values

    @property
    def table(self) -> Table:
        return self.sources[self.source]

    @property
    def fixed_names(self) -> dict[str, tuple[str, ...]]:
        """Readers and transforms that its table names; others are no part of what it becomes."""
        transforms = sorted(_names_in(self.table.model_dump(include={"rows", "columns"})) & {*TRANSFORMS})
        return {"reader": tuple(sorted({form.reader for form in self.table.forms})), "transform": tuple(transforms)}


def _names_in(tree: Any) -> set[str]:
    """All names to which something is given in mappings, however deep."""
    inner = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    return {*(tree if isinstance(tree, Mapping) else ())}.union(*map(_names_in, inner))


def cost(cell: ImportCell) -> Cost:
    """Reading a small file; a download is not counted."""
    return Cost(0.0, 0.5, 3e8)


def brings(cell: ImportCell) -> tuple[str, ...]:
    """Columns of the run table beside the key columns."""
    return tuple(name for name in cell.table.columns if name != RUN)


def describe(cell: ImportCell) -> list[tuple[str, str]]:
    """Where the table comes from and what is known about it."""
    table = cell.table
    return [
        ("address", table.address or "none: a table of your own"),
        ("licence", table.licence),
        ("file", " or ".join(form.file for form in table.forms)),
        ("columns", ", ".join(table.columns)),
        ("filters", ", ".join(table.filters) or "none"),
        *((name.replace("_", " "), text) for name, text in table.documented.model_dump().items()),
    ]


def run(cell: ImportCell, context: Context) -> Outcome:
    """Find, verify, read and map the table. Raises MusterError for a table that does not fit its mapping."""
    table = cell.table
    try:
        found = obtain(table, context.source_dirs, context.download_dir)
    except Unavailable as error:
        reason = redacted(str(error))
        context.progress(f"{cell.source}: not available: {reason}")
        why = {"lacks": f"source {cell.source}", "unavailable": reason, "needs": _permission(table)}
        notes = {**_notes(cell), "file": table.file, "address": table.address or "", **why}
        return _outcome(_complete({RUN: []}, cell), notes)
    try:
        rows = table_of(found)
    except MusterError as error:
        raise MusterError(f"{found.place}: {error.place}", error.found, error.remedy) from None
    mapped = apply(table, rows, found.place)
    context.progress(f"{cell.source}: {len(mapped.runs)} of {len(rows)} rows of {found.place}")
    facts = {"file": found.form.file, "sha256": found.sha256, "rows": len(rows), "removed": mapped.removed}
    return _outcome(_complete(mapped.runs, cell), {**_notes(cell), **facts})


def _permission(table: Table) -> str:
    """What the environment must hold before the table is read; empty if nothing."""
    from muster.published.readers import READERS

    readers = (READERS[form.reader] for form in table.forms)
    return next((f"{reader.permission}=allow" for reader in readers if reader.forbidden()), "")


def _notes(cell: ImportCell) -> dict[str, Any]:
    """What the study says of a table, for the record beside its runs."""
    table = cell.table
    return {"source": cell.source, "licence": table.licence, "documented": table.documented.model_dump()}


def table_of(found: Obtained) -> "pd.DataFrame":
    """The publisher's table, by the reader of the form that was found."""
    from muster.published.readers import READERS

    return READERS[found.form.reader](found.data, found.form.reader_options)


def _complete(columns: "Mapping[str, Any] | pd.DataFrame", cell: ImportCell) -> "pd.DataFrame":
    """A run table with every column of the schema, and those of the mapping even if there is no row."""
    import pandas as pd

    frame = pd.DataFrame(columns)
    for name in brings(cell):
        if name not in frame:
            frame[name] = pd.Series(dtype=float)
    for name in COLUMNS["runs"]:
        if name not in frame:
            frame[name] = FILL.get(name, math.nan)
    frame["parameters"] = frame["parameters"].astype(float).round()
    return frame.assign(**{RUN: frame[RUN].astype("str")})


def _outcome(runs: "pd.DataFrame", notes: dict[str, Any]) -> Outcome:
    import pandas as pd

    curves, probes = (pd.DataFrame({name: [] for name in (RUN, *COLUMNS[kind])}) for kind in ("curves", "probes"))
    return Outcome(runs, curves, probes, notes)


HINTS = """\
      # The file lies below a folder of sources: `sources` in config.yaml, or muster validate NAME --sources FOLDER.
      # A table that others published has some of these lines, too; docs/published-tables.md has a whole one.
      # address: https://example.org/runs.csv  # pinned to a version; none for a table of your own
      # sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  # as sha256sum prints it
      # reader: csv  # tsv, json_lines, parquet, run_files, ...: muster list readers
      # reader_options: {delimiter: ","}  # an unknown one is answered with those that the reader has
      # rows: [{keep: {loss: {above: 0}}}]  # transforms of their rows, before `filters`: muster list transforms
      # filters: {loss: {known: true, below: 10}}  # their column → value, values or a condition
      # repeated_rows: drop  # or keep, where rows that are equal in every column are no mistake
      # Under `columns` stand ours → theirs: parameters, tokens, flops, log2_lr, seed, final_eval_loss, or any name for
      # `by`, from a column, a number or a transform: {product: [6, N, D]}, {log2: lr}, {constant: c4}.
"""

EXPERIMENTS.register("import")(
    Experiment(
        summary="Run tables published by others, or your own: found or downloaded, verified, mapped",
        stage="import",
        cell=ImportCell,
        cost=cost,
        run=run,
        stored=False,
        run_keys=(RUN,),
        brings=brings,
        describe=describe,
        example=Example(
            {
                "sources": {
                    "runs": {
                        "file": "my-study/runs.csv",
                        "licence": "my own",
                        "columns": {"parameters": "N", "final_eval_loss": "loss"},
                        "documented": {
                            "parameter_count": "unknown",
                            "flop_formula": "unknown",
                            "schedule_end": "unknown",
                            "tuned_per_size": "unknown",
                            "checkpoint": "unknown",
                            "split": "unknown",
                        },
                    }
                }
            },
            [{"source": "runs"}],
            {
                "estimator": "regression",
                "table": "runs",
                "response": "final_eval_loss",
                "along": "parameters",
                "primary": "ols_t",
            },
            figure={"plot": "probe_scaling"},
            hints=HINTS,
        ),
    )
)
