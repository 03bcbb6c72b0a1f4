"""The mean of independent runs, without an axis; of several groups the largest, for claims about each of them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from pydantic import Field

from muster.config.models import FitConfig
from muster.fitting.base import ESTIMATORS, Fitted, NoOptions, plain
from muster.fitting.frames import count, groups, require_columns
from muster.fitting.per_group import per_group
from muster.fitting.usable import usable_rows
from muster.statistics.components import Component, largest

VARIANTS = ("largest",)


class MeanOfRunsOptions(NoOptions):
    """Options of `mean_of_runs`."""

    across: list[str] = Field(
        default_factory=list,
        description="Columns whose combinations have a mean each, of which the largest is judged; absent: one mean",
    )


def mean_of_runs(rows: pd.DataFrame, fit: FitConfig, options: MeanOfRunsOptions) -> Iterator[Fitted]:
    """Mean response of runs that are independent draws, t(n − 1); with `across` the largest of the groups' means.

    All means lie below a bound if each does: support goes by the largest p, refutation by Bonferroni's
    (`statistics.components`). Groups of a single run have no error: they are left out and named in the note.
    """
    require_columns(rows, [*options.across, fit.response], "options.across")
    used, lost = usable_rows(rows, finite=[fit.response])
    labels: list[str] = []
    components: list[Component] = []
    single: list[str] = []
    for group, part in groups(used, options.across):
        draws, label = part[fit.response].to_numpy(float), " ".join(str(plain(value)) for value in group.values())
        if len(draws) < 2:
            single.append(label)
            continue
        error = float(draws.std(ddof=1) / np.sqrt(len(draws)))
        components.append(Component(float(len(labels)), float(draws.mean()), error, len(draws) - 1))
        labels.append(label)
    notes = [f"one run: {', '.join(single)}" if any(single) else "", lost]
    if not components:
        few = "2 runs are needed"
        yield Fitted({}, status="too_few", note=", ".join(filter(None, [few, *notes])))
        return
    found = largest(components)
    if options.across:
        of = max(range(len(labels)), key=lambda i: components[i].estimate)
        notes.insert(0, f"{len(labels)} groups, largest mean {labels[of]}")
    yield Fitted(
        {"largest": found},
        note=", ".join(filter(None, notes)),
        counts=count(used),
        diagnostics={"components": [each._asdict() for each in components], "of": "largest", "groups": labels},
    )


ESTIMATORS.register("mean_of_runs")(
    per_group(
        "Mean of independent runs, without an axis; with groups the largest of their means",
        mean_of_runs,
        VARIANTS,
        min_points=1,
        parameters=("mean",),
        needs=(),
        options=MeanOfRunsOptions,
        source="Student 1908; every group: intersection–union test (Berger 1982), refuted by Bonferroni's bound",
        assumes="Runs of a group are independent draws, their mean nearly normal",
        fails="A group of two to four runs has an error that is itself a draw; runs that were chosen for their result "
        "make every mean look better than a new run would be",
    )
)
