"""Power of a fit of a law: tables drawn from what a study claims, on rows as they are or will be, through its own
estimator.

A draw replaces the response of every row by the law at the claimed parameters, times exp of normal noise: of each run,
and of each cluster of runs where the fit has `clusters`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from muster.claims import reproduced
from muster.claims.power import Slopes
from muster.claims.tests import REFUTES_ONLY, two_sided
from muster.config.models import ClaimConfig, FitConfig
from muster.errors import MusterError
from muster.fitting.base import ESTIMATORS, parse_options, plain
from muster.fitting.frames import require_columns
from muster.fitting.laws.base import Law
from muster.fitting.laws.estimate import infer
from muster.fitting.laws.law import law_of
from muster.fitting.laws.options import LawOptions
from muster.fitting.laws.predict import spread
from muster.fitting.laws.printed import values as printed_values
from muster.fitting.laws.solve import fit_law, robust_sd
from muster.fitting.laws.table import usable_rows
from muster.statistics.linear import Estimate

DRAWS = 24  # over all designs of a study
FEWEST = 8  # of one
REPLICATES = 400  # of the bootstrap of each draw: with fewer, the longer side of its interval is too long
NOTHING = Estimate(np.nan, np.nan, np.nan)


class Noise(NamedTuple):
    """Standard deviations of ln y off the law: of one run, and of what the runs of a cluster share."""

    own: float
    shared: float = 0.0


class LawDesign(NamedTuple):
    """One group of a fit of a law. rows: its table, whose response is drawn anew. truth: natural parameters."""

    law: Law
    fit: FitConfig
    options: LawOptions
    rows: pd.DataFrame
    truth: Mapping[str, float]
    noise: Noise

    @property
    def clusters(self) -> NDArray[np.intp] | None:
        """The number of each row's cluster [R]; None where every row is its own."""
        return pd.factorize(self.rows[self.options.clusters])[0] if self.options.clusters else None

    def simulate(self, draws: int, seed: int = 0) -> dict[str, Slopes]:
        """What the fit's estimator makes of so many tables: every number that it returns, with its error."""
        rng = np.random.default_rng(seed)
        x = self.rows[self.law.columns(self.options.columns, self.fit.along)].to_numpy(float).T
        centre = self.law.predict(np.array([self.truth[name] for name in self.law.parameters]), x)
        labels = self.clusters
        found: dict[str, list[Estimate]] = {}
        for _ in range(draws):
            off = self.noise.own * rng.standard_normal(len(centre))
            if labels is not None:
                off += self.noise.shared * rng.standard_normal(labels.max() + 1)[labels]
            table = self.rows.assign(**{self.fit.response: centre * np.exp(off)})
            for number in infer(self.law, table, self.fit, self.options).fitted:
                (estimate,) = number.estimates.values()
                found.setdefault(number.parameter, []).append(estimate if number.status == "ok" else NOTHING)
        return {name: _paired(estimates) for name, estimates in found.items()}


def _paired(draws: Sequence[Estimate]) -> Slopes:
    """Every estimate with every draw's error, which is all but independent of it: as many answers as few draws give.
    Draws without an error keep their share."""
    told = np.array([(draw.estimate, draw.se, draw.dof) for draw in draws])
    known = told[np.isfinite(told).all(axis=1)]
    lost = np.full(((len(told) - len(known)) * max(len(known), 1), 3), np.nan)
    estimate = np.repeat(known[:, :1], len(known), axis=0)
    error = np.tile(known[:, 1:], (len(known), 1))
    all_told = np.concatenate([np.hstack([estimate, error]), lost])
    return Slopes(all_told[:, 0], all_told[:, 1], all_told[:, 2], np.isfinite(all_told[:, 1]))


def law_design(
    fit: FitConfig, rows: pd.DataFrame, claims: Iterable[ClaimConfig], noise: Noise | None, at_hand: bool
) -> LawDesign:
    """The design of one group of a fit, where its claims are true as far as they can be together.

    Claimed are the first vector of coefficients under `published`, and above it what claims of two bounds predict of
    parameters; all other parameters are fitted to the rows with these held fixed. noise: as it is assumed, else that
    of the rows around the law. at_hand: whether rows have measured responses. Raises a MusterError where parameters can
    be had neither from a claim nor from rows.
    """
    law = law_of(fit)
    assert law is not None
    options = parse_options(ESTIMATORS[fit.estimator].options, fit)
    assert isinstance(options, LawOptions)
    columns = law.columns(options.columns, fit.along)
    used = rows
    require_columns(rows, columns, "options.columns")
    if at_hand:
        signed = [column for name, column in zip(law.variables, columns, strict=True) if name in law.signed]
        used = usable_rows(rows, columns, fit.response, signed).rows
    vectors = options.vectors({column: plain(rows[column].iloc[0]) for column in fit.by})
    claimed = {**options.fixed, **printed_values(next(iter(vectors.values()), {}))}
    claimed |= {str(claim.parameter): claim.predicted for claim in claims if _moves(claim, law)}
    chosen = options.model_copy(
        update={"published": {}, "replicates": min(options.replicates, REPLICATES), "thorough": False}
    )
    if not at_hand and (unknown := [name for name in law.parameters if name not in claimed]):
        found = f"no run has made its table, and no value of {', '.join(unknown)} is published"
        raise MusterError("options.published", found, "Give them there, or run the study first")
    truth = claimed
    if not at_hand:
        assert noise is not None
        return LawDesign(law, fit, chosen, used, truth, noise)
    x, y = used[columns].to_numpy(float).T, used[fit.response].to_numpy(float)
    if any(name not in claimed for name in law.parameters):
        truth = fit_law(law, x, y, fixed=claimed).natural
    if noise is None:
        own = fit_law(law, x, y, fixed=options.fixed)
        noise = Noise(robust_sd(own))
        if options.clusters:
            parts = spread(own, pd.factorize(used[options.clusters])[0].astype(float)[None])
            noise = Noise(parts.seed, parts.between) if parts.seed else noise
    return LawDesign(law, fit, chosen, used, truth, noise)


def _moves(claim: ClaimConfig, law: Law) -> bool:
    """Whether a claim says where one of the law's own parameters lies."""
    return two_sided(claim.test) and claim.parameter in law.parameters


def compatible(claims: Iterable[ClaimConfig], law: Law) -> list[list[ClaimConfig]]:
    """Claims that can be true at once, in few lists: two that place one parameter differently cannot. Tests that never
    support have no power and are left out."""
    lists: list[list[ClaimConfig]] = []
    for claim in claims:
        if claim.test in REFUTES_ONLY or claim.test == reproduced.NAME:
            continue
        rivals = (
            any(_moves(other, law) and other.parameter == claim.parameter and other.predicted != claim.predicted
                for other in known) and _moves(claim, law)
            for known in lists
        )  # fmt: skip
        free = next((known for known, rival in zip(lists, rivals, strict=True) if not rival), None)
        if free is None:
            lists.append([claim])
        else:
            free.append(claim)
    return lists
