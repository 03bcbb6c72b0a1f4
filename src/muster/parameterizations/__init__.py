"""Parameterizations as tables of exponents per role, relative to a base shape.

`scalings` gives an engine the numbers for each tensor; `effective_table` and `render_table` show them to the user.
Names live in the registries PARAMETERIZATIONS, RULES, EPSILON_RULES, DECAY_RULES and ROLES; how an optimizer's step
scales is its own `Update`.
"""

from muster.parameterizations.depth import branch_multiplier, shape_ratios
from muster.parameterizations.rules import DECAY_RULES, EPSILON_RULES, MATRIX_RULES, RULES, unfit_rule, usual_rule
from muster.parameterizations.scaling import Exponents, Factor, Scaling, Tensor, exponents, scalings
from muster.parameterizations.show import effective_table, render_table, step_in_words
from muster.parameterizations.tables import (
    AB,
    MATRIX_SCALES,
    PARAMETERIZATIONS,
    ROLES,
    MatrixUpdate,
    Parameterization,
    Power,
    Role,
    Update,
)

__all__ = [
    "AB",
    "DECAY_RULES",
    "EPSILON_RULES",
    "MATRIX_RULES",
    "MATRIX_SCALES",
    "PARAMETERIZATIONS",
    "ROLES",
    "RULES",
    "Exponents",
    "Factor",
    "MatrixUpdate",
    "Parameterization",
    "Power",
    "Role",
    "Scaling",
    "Tensor",
    "Update",
    "branch_multiplier",
    "effective_table",
    "exponents",
    "render_table",
    "scalings",
    "shape_ratios",
    "step_in_words",
    "unfit_rule",
    "usual_rule",
]
