"""What every regime check shares: what it is given, what it answers, the registry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pandas as pd

from muster.config.models import ClaimConfig, FitConfig, StudyConfig
from muster.fitting.base import NoOptions
from muster.registry import Registry


class Measured(NamedTuple):
    """What a check is computed from: a claim, its fit, and everything that the study measured.

    row: the fit's row that the claim is judged by. tables: `runs`, `curves`, `probes`. fits, optima: of the whole
    study, as `fit_study` returns them.
    """

    study: StudyConfig
    claim: ClaimConfig
    fit: FitConfig
    row: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    fits: pd.DataFrame
    optima: pd.DataFrame


class Checked(NamedTuple):
    """What a check found: a value and the closed region [low, high] that it must lie in.

    NaN: it could not be computed, which fails; the note says why. towards: the local exponents of a check that failed
    move towards the prediction. note: what a reader needs beside the value, such as the local exponents and where they
    lead.
    """

    value: float
    low: float
    high: float
    note: str = ""
    towards: bool = False

    @property
    def passed(self) -> bool:
        return self.low <= self.value <= self.high


class Least(NamedTuple):
    """What a grid needs for a check to be able to pass: values of an axis, with so many learning rates at each."""

    axis: str
    values: int
    rates: int = 0


@dataclass(frozen=True)
class RegimeCheck:
    """A registered check. blocks: the verdicts that its failure forbids, both or only `refuted`. least: what it cannot
    pass without, from the claim's fit and the check's options; None where any grid may pass. unfit: why it can never
    be computed for a claim of a study, whatever is run; empty if it can."""

    summary: str
    function: Callable[[Measured, Any], Checked]
    options: type[NoOptions] = NoOptions
    source: str = ""
    fails: str = ""
    blocks: Literal["both", "refuted"] = "both"
    least: Callable[[FitConfig, Any], Least | None] = lambda fit, options: None
    unfit: Callable[[StudyConfig, ClaimConfig, Any], str] = lambda study, claim, options: ""

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        return f"{self.summary}\n\nSource: {self.source}\nFails: {self.fails}"


REGIME_CHECKS: Registry[RegimeCheck] = Registry("regime check", modules=("muster.claims.regime",))
