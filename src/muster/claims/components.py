"""The row that a claim is judged by, where an estimator keeps several numbers or a profile for one."""

import json
from collections.abc import Mapping
from typing import Any

from muster.claims.tests import CLAIM_TESTS
from muster.config.models import ClaimConfig
from muster.statistics.components import Component, against, undecided


def row_of(claim: ClaimConfig, row: Mapping[str, Any]) -> dict[str, Any]:
    """A fit's row with estimate, se, dof and interval as the claimed region asks for them; others stay as they are.

    A row without a standard error stays too: nothing can be decided from it. Where the estimator supposes what is
    claimed (`refutes` false in its diagnostics), an estimate outside the region gets an error with which it refutes
    nothing.
    """
    kept = json.loads(row.get("diagnostics") or "{}")
    if row.get("status") != "ok" or kept.get("of") != row.get("variant") or "components" not in kept:
        return dict(row)
    components = [Component(**{name: _finite(value) for name, value in each.items()}) for each in kept["components"]]
    region = CLAIM_TESTS[claim.test](claim.predicted, claim.margin)
    found = against(components, *region)
    beyond = max(region[0] - found.estimate, found.estimate - region[1])
    if beyond > 0 and not kept.get("refutes", True):
        found = found._replace(se=undecided(beyond, found), ci=None)
    low, high = found.interval()
    numbers = {"estimate": found.estimate, "se": found.se, "dof": found.dof, "ci_low": low, "ci_high": high}
    return {**row, **{name: float(value) for name, value in numbers.items()}}


def _finite(value: Any) -> Any:
    return float("nan") if value is None else value
