"""Rules that complete a parameterization: exponents of learning rate, Adam's ε and weight decay.

Every function returns the exponent x of a factor r^x, where r is the width relative to the base shape.
"""

from collections.abc import Callable

from muster.parameterizations.tables import ROLES, Parameterization, Update
from muster.registry import Registry

Rule = Callable[[Parameterization, Update, str], float]

RULES: Registry[Rule] = Registry("rule")
EPSILON_RULES: Registry[Callable[[Parameterization, str], float]] = Registry("epsilon_rule")
DECAY_RULES: Registry[Callable[[float], float]] = Registry("decay_rule")


def stable_rate(table: Parameterization, update: Update, role: str, alignment: float) -> float:
    """Largest x for which a step with rate η·n^x leaves the tensor's output O(1).

    The output moves by n^(−a) · n^x · n^(−p·g − q·b) · n^s, where the step scales as |gradient|^p·|w|^q and s = 0 for a
    fixed fan-in, else `alignment`: 1 if ΔW adds up coherently along its input, ½ if it is a random sum.
    Hence x = a + p·g + q·b − s (Everett et al. 2024, Table 1).
    """
    row = table.row(role)
    coherence = alignment * ROLES[role].wide_fan_in
    return row.a + update.gradient * table.gradient(role) + update.weight * row.b - coherence


@RULES.register("constant")
def constant(table: Parameterization, update: Update, role: str) -> float:
    """One rate for all tensors and widths."""
    return 0.0


@RULES.register("global")
def global_rate(table: Parameterization, update: Update, role: str) -> float:
    """One rate for all tensors, scaled as the slowest of full_alignment's weight matrices demands."""
    return min(full_alignment(table, update, matrix) for matrix in ("input", "hidden", "readout"))


@RULES.register("full_alignment")
def full_alignment(table: Parameterization, update: Update, role: str) -> float:
    """Per-layer rates if weight updates align fully with activations, initial readout weights not with their change."""
    return stable_rate(table, update, role, alignment=1.0)


@RULES.register("no_alignment")
def no_alignment(table: Parameterization, update: Update, role: str) -> float:
    """Per-layer rates if weight updates are uncorrelated with activations."""
    return stable_rate(table, update, role, alignment=0.5)


@RULES.register("omega_out_1")
def omega_out_1(table: Parameterization, update: Update, role: str) -> float:
    """Per-layer rates if the initial readout weights, too, align with the change of the features they read.

    Such a change then moves the output by n^(1 − a_out − b_out) times its size, so all below the readout must be slower
    by that factor where it grows (the assumption of Tensor Programs IV; Everett et al. 2024, ω_out = 1).
    """
    excess = max(0.0, 1.0 - table.readout_scale) * ROLES[role].below_readout
    return full_alignment(table, update, role) - excess


@EPSILON_RULES.register("constant")
def constant_epsilon(table: Parameterization, role: str) -> float:
    """The same ε at every width."""
    return 0.0


@EPSILON_RULES.register("scaled")
def scaled_epsilon(table: Parameterization, role: str) -> float:
    """ε in proportion to the natural scale of the tensor's gradient (Everett et al. 2024)."""
    return -table.gradient(role)


@DECAY_RULES.register("constant")
def constant_decay(rate: float) -> float:
    """The same weight decay λ at every width."""
    return 0.0


@DECAY_RULES.register("constant_product")
def constant_product(rate: float) -> float:
    """λ against the learning rate, so that η·λ is the same at every width (default of the package mup)."""
    return -rate
