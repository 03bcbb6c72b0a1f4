"""What claims said when the tables of their study were first made: a margin chosen after a look is told as that."""

from collections.abc import Mapping
from typing import Any

from muster.config.models import StudyConfig

# What a verdict depends on; a statement's words and its figure may change freely.
DECIDING = {"where", "parameter", "test", "predicted", "margin", "prediction_se", "stance", "criterion", "regime",
            "controls", "headline"}  # fmt: skip
Declared = Mapping[str, Mapping[str, Any]]


def declared(study: StudyConfig) -> dict[str, dict[str, Any]]:
    """Claim → what its verdict depends on, its fit included, as JSON holds it."""
    fits = {name: fit.model_dump(mode="json") for name, fit in study.fits.items()}
    return {
        claim.claim: claim.model_dump(mode="json", include=DECIDING) | {"fit": fits.get(claim.fit)}
        for claim in study.claims
    }


def changes(study: StudyConfig, first: Declared) -> dict[str, str]:
    """Claim → what of it is not as it was in `first`, in words; claims that are as they were are left out.

    What `first` does not hold of a claim that it knows, a later version of muster added: that is no change.
    """
    return {name: told for name, now in declared(study).items() if (told := _told(first.get(name), now))}


def _told(first: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if first is None:
        return "written after its tables were first made"
    parts = [_part(name, first[name], now[name]) for name in now if name in first and first[name] != now[name]]
    return f"changed since its tables were first made: {', '.join(parts)}" if parts else ""


def _part(name: str, before: Any, after: Any) -> str:
    plain = all(value is None or isinstance(value, str | int | float) for value in (before, after))
    return f"{name} {_word(before)}, now {_word(after)}" if plain else name


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
