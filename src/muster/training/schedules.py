"""Learning-rate schedules: the factor on the peak rate at each step."""

import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from muster.registry import Registry
from muster.settings import chosen_values

Schedule = Callable[..., float]  # of the progress from 0 to 1; its keywords are settings of the cells that choose it
SCHEDULES: Registry[Schedule] = Registry("schedule")


@SCHEDULES.register("constant")
def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


@SCHEDULES.register("linear")
def linear(progress: float) -> float:
    """Falls linearly to 0 at the end."""
    return 1.0 - progress


@SCHEDULES.register("cosine")
def cosine(progress: float) -> float:
    """Half a cosine period to 0 (Loshchilov & Hutter 2017, eq. 5, no restart)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


@SCHEDULES.register("wsd")
def warmup_stable_decay(
    progress: float,
    *,
    decay_fraction: Annotated[float, Field(gt=0, le=1, description="Share of the decay phase")] = 0.2,
) -> float:
    """Stable, then linear to 0 over the last `decay_fraction` of the steps (Hu et al. 2024, MiniCPM)."""
    return min(1.0, (1.0 - progress) / decay_fraction)


def factors(cell: Any) -> list[float]:
    """Factor of each step 0 … steps−1: linear warm-up from 1/w to 1 over w steps, then the cell's schedule.

    The first step after warm-up has progress 0 and none reaches progress 1, so no step is wasted at rate 0.
    """
    warmup = round(cell.warmup_fraction * cell.steps)
    schedule = SCHEDULES[cell.schedule]
    settings = chosen_values(schedule, cell)
    rising = [(i + 1) / warmup for i in range(warmup)]
    rest = cell.steps - warmup
    return rising + [schedule(i / rest, **settings) for i in range(rest)]
