"""Rules that complete a parameterization: exponents of learning rate, Adam's ε and weight decay.

A learning-rate rule returns the exponent x of a factor r^x, where r is the width relative to the base shape;
`branch_rate` completes it in depth. The other rules return powers of width and depth.
"""

from collections.abc import Callable

from muster.parameterizations.tables import ROLES, MatrixUpdate, Parameterization, Power, Update
from muster.registry import Registry

Rule = Callable[[Parameterization, Update, str], float]

RULES: Registry[Rule] = Registry("rule")
EPSILON_RULES: Registry[Callable[[Parameterization, str, bool, float], Power]] = Registry("epsilon_rule")
DECAY_RULES: Registry[Callable[[Power], Power]] = Registry("decay_rule")

MATRIX_RULES = ("spectral", "spectral_omega_out_1", "constant")  # rules that know how whole matrices are stepped
ONE_RATE = ("constant", "global")  # rules of one rate for all tensors: none of its own for residual branches


def branch_rate(update: Update, alpha: float) -> float:
    """x of the rate's factor depth^x inside residual branches that are multiplied by depth^(−alpha).

    The output moves by depth · depth^(−α) · depth^x · depth^(−α·p), where the step scales as |gradient|^p and the
    branches' changes add up coherently. Hence x = α(1 + p) − 1: 2α − 1 for SGD, α − 1 for Adam (Bordelon et al. 2024;
    Dey et al. 2025, Table 1).
    """
    return alpha * (1.0 + update.gradient) - 1.0


def stable_rate(table: Parameterization, update: Update, role: str, alignment: float) -> float:
    """Largest x for which a step with rate η·n^x leaves the tensor's output O(1).

    The output moves by n^(−a) · n^x · n^(−p·g − q·b) · n^s, where the step scales as |gradient|^p·|w|^q and s = 0 for a
    fixed fan-in, else `alignment`: 1 if ΔW adds up coherently along its input, ½ if it is a random sum.
    Hence x = a + p·g + q·b − s (Everett et al. 2024, Table 1). Unit scaling has rates of its own.
    """
    row = table.row(role)
    if table.unit_rates is not None:
        return table.unit_rates[role]
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


@RULES.register("spectral")
def spectral(table: Parameterization, update: Update, role: str) -> float:
    """As full_alignment, also for optimizers that precondition whole matrices, whose rule it is by default.

    x = a + p·g + q·b + i·[wide fan-in] + o·[wide fan-out] − [wide fan-in] − s for steps ∝ n^s · |gradient|^p · |w|^q ·
    fan_in^(−i) · fan_out^(−o). With `spectral_norm` e, µ = ½[wide fan-out] − ½[wide fan-in] and total power E of the
    preconditioners on both sides this is x = a + µ − (1 − 2E)·e − s.
    """
    if not isinstance(update, MatrixUpdate):
        return full_alignment(table, update, role)
    if role not in update.roles:
        return full_alignment(table, update.rest, role)
    row, wide_in, wide_out = table.row(role), ROLES[role].wide_fan_in, ROLES[role].below_readout
    entries = update.gradient * table.gradient(role) + update.weight * row.b
    entries += update.fan_in * wide_in + update.fan_out * wide_out - update.scale_exponent(wide_in, wide_out)
    return row.a + entries - wide_in


@RULES.register("spectral_omega_out_1")
def spectral_omega_out_1(table: Parameterization, update: Update, role: str) -> float:
    """As spectral, with the assumption of omega_out_1: the table of Ishikawa & Karakida 2024 for K-FAC and Shampoo."""
    return spectral(table, update, role) - max(0.0, 1.0 - table.readout_scale) * ROLES[role].below_readout


def spectral_norm(table: Parameterization, role: str) -> float:
    """e of the spectral norm of a matrix's gradient, ∝ n^e at initialization: √(entries) · |gradient| at a fixed rank.

    An absolute ε beside GGᵀ is right at every width if it is ∝ n^(2e).
    """
    wide = ROLES[role].wide_fan_in + ROLES[role].below_readout  # what is below the readout has a wide fan-out
    return 0.5 * wide - table.gradient(role)


def usual_rule(update: Update) -> str:
    """The learning-rate rule where none is named."""
    return MATRIX_RULES[0] if isinstance(update, MatrixUpdate) else "full_alignment"


def unfit_rule(update: Update, rule: str) -> str:
    """Why a rule has no rates for an update, or nothing."""
    if not isinstance(update, MatrixUpdate) or rule in MATRIX_RULES:
        return ""
    return f"rule {rule} knows steps of single weights, and this optimizer steps whole matrices"


@EPSILON_RULES.register("constant")
def constant_epsilon(table: Parameterization, role: str, branch: bool, alpha: float) -> Power:
    """The same ε at every width and depth."""
    return Power(0.0)


@EPSILON_RULES.register("scaled")
def scaled_epsilon(table: Parameterization, role: str, branch: bool, alpha: float) -> Power:
    """ε in proportion to the natural scale of the tensor's gradient (Everett et al. 2024), depth^(−α) in branches."""
    return Power(-table.gradient(role), -alpha * branch)


@EPSILON_RULES.register("completep")
def completep_epsilon(table: Parameterization, role: str, branch: bool, alpha: float) -> Power:
    """ε ∝ 1/(width · depth^α) inside residual branches, constant elsewhere (Dey et al. 2025, Table 1)."""
    return Power(-1.0, -alpha) if branch else Power(0.0)


@EPSILON_RULES.register("completep_code")
def completep_code_epsilon(table: Parameterization, role: str, branch: bool, alpha: float) -> Power:
    """ε ∝ 1/(width · depth^α) in every tensor, as the authors of CompleteP have it in their code."""
    return Power(-1.0, -alpha)


@DECAY_RULES.register("constant")
def constant_decay(rate: Power) -> Power:
    """The same weight decay λ at every width and depth."""
    return Power(0.0)


@DECAY_RULES.register("constant_product")
def constant_product(rate: Power) -> Power:
    """λ against the learning rate, so that η·λ is the same at every width and depth (default of the package mup)."""
    return Power(-rate.width, -rate.depth)


@DECAY_RULES.register("completep")
def completep_decay(rate: Power) -> Power:
    """λ against the rate's width factor alone: λ ∝ width in hidden weights at any depth (Dey et al. 2025, Table 1)."""
    return Power(-rate.width)
