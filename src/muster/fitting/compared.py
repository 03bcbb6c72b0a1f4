"""The groups of a fit that compares two of them, as its options say: an estimator reads them as it reads the others.

Apart from `FitConfig`, which every fit's fingerprint holds: no number depends on what is told here.
"""

from typing import Any

from muster.config.models import FitConfig


def compared(fit: FitConfig) -> dict[str, dict[str, Any]]:
    """The two groups by their options, `a` and `b`; none of an estimator that compares no two."""
    return {side: fit.options[side] for side in ("a", "b") if isinstance(fit.options.get(side), dict)}


def group_columns(fit: FitConfig) -> list[str]:
    """The columns whose values tell a fit's groups apart, those that it compares among them."""
    return list(dict.fromkeys([*fit.by, *(column for group in compared(fit).values() for column in group)]))
