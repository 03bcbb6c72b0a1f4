"""What claims declare about themselves, held against what a claim may declare: only `muster validate` looks at it.

Nothing here keeps a study from being run: a claim that is not fairly declared is still measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from muster.claims.conditions import options_of
from muster.claims.regime.base import REGIME_CHECKS, Least
from muster.claims.tests import claimed_region, two_sided
from muster.cli.check import LR_AXIS, matching
from muster.config.load import nearest
from muster.config.models import ClaimConfig, StudyConfig
from muster.errors import FieldError, FieldPath
from muster.fitting.base import ESTIMATORS
from muster.plan.study import StudyPlan

OURS = ("own", "identity")  # stances of statements that are no paper's


def declarations(study: StudyConfig, known: Mapping[str, StudyConfig]) -> Iterator[FieldError]:
    """Every claim of a study that declares what it may not, at its field. known: all studies, for what claims name."""
    claims = {claim.claim: (each, claim) for each in known.values() for claim in each.claims}
    for i, claim in enumerate(study.claims):
        field: FieldPath = ("claims", i)
        yield from _headline(claim, field)
        yield from _attainable(study, claim, field)
        yield from _controls(study, claim, claims, field)
        yield from _same_as(claim, claims, field)


def _headline(claim: ClaimConfig, field: FieldPath) -> Iterator[FieldError]:
    if not claim.headline:
        return
    if claim.stance in OURS:
        found = f"a claim of stance {claim.stance!r} is no headline claim of the paper"
        yield FieldError((*field, "headline"), found, "Write headline: false")
    elif two_sided(claim.test) and not claim.regime:
        found = f"headline claim {claim.claim} holds for a region with two ends, and says nowhere when it may be judged"
        remedy = "Give it `regime:` with checks of `muster list checks`: the paper's own range at least"
        yield FieldError((*field, "regime"), found, remedy)


def _attainable(study: StudyConfig, claim: ClaimConfig, field: FieldPath) -> Iterator[FieldError]:
    """A region that holds every value that the number can take asserts nothing; nor does one end of two."""
    fit = study.fits.get(claim.fit)
    if fit is None or fit.estimator not in ESTIMATORS:
        return
    estimator = ESTIMATORS[fit.estimator]
    number = claim.parameter or estimator.first(fit)
    if number in estimator.two_ends and not two_sided(claim.test):
        found = f"{number} of {fit.estimator} may lie on either side, and a test of one end lets the other pass"
        yield FieldError((*field, "test"), found, "Use equivalence with a margin")
    least, most = estimator.attainable.get(number, (None, None))
    low, high = claimed_region(claim.test, claim.predicted, claim.margin)
    if least is not None and most is not None and low <= least and most <= high:
        found = f"the region [{low:g}, {high:g}] holds every value that {fit.estimator} can give, [{least:g}, {most:g}]"
        yield FieldError((*field, "margin"), found, "Claim what could fail, or give the claim the stance identity")


def _controls(
    study: StudyConfig, claim: ClaimConfig, claims: Mapping[str, Any], field: FieldPath
) -> Iterator[FieldError]:
    """Controls that exist, do not wait for each other, and whose verdicts no other paper's family moves."""
    for j, name in enumerate(claim.controls):
        here = (*field, "controls", j)
        if name not in claims:
            yield FieldError(here, f"unknown claim {name!r}", nearest(name, claims))
            continue
        other, control = claims[name]
        if other.slug != study.slug and control.stance != "control":
            found = f"{name} belongs to the family of another paper, {other.slug}, which other claims can move"
            yield FieldError(here, found, "Name a claim of this paper, or one of stance control")
        if claim.claim in _below(name, claims):
            yield FieldError(here, f"{name} waits for {claim.claim} itself", "Remove one of the two")


def _below(name: str, claims: Mapping[str, Any]) -> set[str]:
    """All claims that a claim waits for, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        if (each := waiting.pop()) not in found and each in claims:
            found.add(each)
            waiting += claims[each][1].controls
    return found


def _same_as(claim: ClaimConfig, claims: Mapping[str, Any], field: FieldPath) -> Iterator[FieldError]:
    """The claim that states the fact first: another one, which refers to none itself."""
    here = (*field, "same_as")
    if claim.same_as is None:
        return
    if claim.same_as not in claims:
        yield FieldError(here, f"unknown claim {claim.same_as!r}", nearest(claim.same_as, claims))
        return
    first = claims[claim.same_as][1]
    if first.claim == claim.claim or first.same_as is not None:
        found = "is the claim itself" if first.claim == claim.claim else f"is itself the same as {first.same_as}"
        yield FieldError(here, f"{first.claim} {found}", "Name the one claim that states the fact first")
    if first.stance != claim.stance:
        found = f"{first.claim} has the stance {first.stance!r}, this claim {claim.stance!r}"
        yield FieldError(here, found, "The same fact is counted once: give both the same stance")


def other_runs(plan: StudyPlan, plans: Mapping[str, StudyPlan]) -> Iterator[FieldError]:
    """Claims of a planned study that are said to be the same as one from other runs. plans: all studies that can be
    planned at this scale."""
    claims = {claim.claim: (each, claim) for each in plans.values() for claim in each.study.claims}
    for i, claim in enumerate(plan.study.claims):
        if claim.same_as in claims and not _cells(plan, claim) & _cells(*claims[claim.same_as]):
            found = f"{claim.same_as} is measured in none of the cells of {claim.claim} at scale {plan.scale!r}"
            yield FieldError(("claims", i, "same_as"), found, "Other runs are another fact: remove same_as")


def underpowered(plan: StudyPlan, family: Sequence[StudyConfig], results: Path | None) -> Iterator[FieldError]:
    """Headline claims of a planned study of our own runs whose power at their own prediction is known to be low, and
    that do not say why they stay. results: the folder of a run of this plan, None without one."""
    from muster.claims.power import POWER
    from muster.cli.power import headline_powers

    if plan.scale == "smoke" or plan.cells[0].stage == "import":
        return
    powers = headline_powers(plan, family, results)
    for i, claim in enumerate(plan.study.claims):
        there = powers.get(claim.claim, 1.0)
        if there < POWER and claim.underpowered is None:
            found = f"power {100 * there:.0f} % at its own prediction, at scale {plan.scale!r} and the family's level"
            remedy = f"Change the design (`muster power {plan.study.study}`), or say why it stays: underpowered: …"
            yield FieldError(("claims", i), found, remedy)


def hopeless(plan: StudyPlan) -> Iterator[FieldError]:
    """Regime checks that a planned study's grid can never pass. What a grid does not tell, such as the layers that an
    experiment reads by itself, is no mistake; nor is anything at scale smoke, which is never judged."""
    if plan.scale == "smoke":
        return
    for i, claim in enumerate(plan.study.claims):
        for j, regime in enumerate(claim.regime):
            field: FieldPath = ("claims", i, "regime", j)
            least = REGIME_CHECKS[regime.check].least(plan.study.fits[claim.fit], options_of(regime, field))
            planned = _planned_values(plan, claim, least) if least else None
            if least and planned is not None and planned < least.values:
                with_rates = f" with {least.rates} learning rates" if least.rates else ""
                found = f"{regime.check} can never pass at scale {plan.scale!r}: {planned} of {least.axis}{with_rates}"
                remedy = f"Give it {least.values} values, or a check that fits: `muster list checks`"
                yield FieldError(field, found, remedy)


def _planned_values(plan: StudyPlan, claim: ClaimConfig, least: Least) -> int | None:
    """How many values of an axis the claim's fit can have, with enough learning rates; None where that is not known."""
    wanted = {**plan.study.fits[claim.fit].select, **claim.where}
    cells = [cell.cell for cell in matching(plan.cells, wanted)]
    if not all(least.axis in type(cell).model_fields for cell in cells):
        listed = wanted.get(least.axis)
        return len(set(listed)) if isinstance(listed, list) else None
    rates: dict[Any, set[float]] = {}
    for cell in cells:
        rates.setdefault(getattr(cell, least.axis), set()).update(getattr(cell, LR_AXIS, ()))
    return sum(len(each) >= least.rates for each in rates.values())


def _cells(plan: StudyPlan, claim: ClaimConfig) -> set[str]:
    """The cells that a claim's group of its fit reads."""
    fit = plan.study.fits.get(claim.fit)
    return {cell.key for cell in matching(plan.cells, {**fit.select, **claim.where})} if fit else set()
