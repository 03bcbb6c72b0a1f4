"""Parameterizations and roles as data: exponents of the width ratio, from which every rule is computed.

Convention (Yang & Hu 2021, Tensor Programs IV, abc-parameterization): a tensor enters the forward pass as
W = n^(−a)·w, its trainable w is drawn with standard deviation n^(−b), and its learning rate is η·n^(−c).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from muster.errors import MusterError
from muster.registry import Registry


@dataclass(frozen=True)
class Entry:
    """A row of data with the sentence that `muster list` prints for it. Its `repr` is what decides numbers."""

    summary: str = field(repr=False)

    def __post_init__(self) -> None:
        # Registries print an entry's docstring; an instance attribute leaves the class its own.
        object.__setattr__(self, "__doc__", self.summary)


@dataclass(frozen=True)
class Role(Entry):
    """The kind of a tensor: all that the width rules need to know about its place in the network.

    wide_fan_in: it sums over a number of inputs that grows with width.
    below_readout: its gradient reaches it through the readout.
    """

    wide_fan_in: bool
    below_readout: bool


@dataclass(frozen=True)
class Update:
    """How one step of an optimizer scales: |Δw| ∝ η · |gradient|^gradient · |w|^weight."""

    gradient: float
    weight: float

    @property
    def scale_free(self) -> bool:
        """Whether a step sees the size of neither gradient nor weight, as unit scaling's rates take for granted."""
        return self.gradient == 0 and self.weight == 0


# Factors of a matrix's step by (fan_in, fan_out): the spectral condition (Yang, Simon & Bernstein 2023), and those of
# two implementations of Muon, which torch.optim.Muon calls `original` and `match_rms_adamw`.
MATRIX_SCALES: Mapping[str, Callable[[float, float], float]] = {
    "none": lambda fan_in, fan_out: 1.0,
    "spectral": lambda fan_in, fan_out: (fan_out / fan_in) ** 0.5,
    "jordan": lambda fan_in, fan_out: max(1.0, fan_out / fan_in) ** 0.5,
    "moonshot": lambda fan_in, fan_out: 0.2 * max(fan_in, fan_out) ** 0.5,
}


@dataclass(frozen=True)
class MatrixUpdate(Update):
    """How one step scales that preconditions matrices as a whole:

    |Δw| ∝ η · scale · |gradient|^gradient · |w|^weight · fan_in^(−fan_in) · fan_out^(−fan_out).

    Preconditioners of total power E, (GGᵀ)^(−E/2) G (GᵀG)^(−E/2), divide G by the 2E-th power of its spectral norm,
    which is |gradient|·√(fan_in·fan_out) at a fixed rank: gradient = 1 − 2E, fan_in = fan_out = E. E = ½ is the polar
    factor. scale: a name in MATRIX_SCALES. roles: what is stepped so; other tensors are stepped as `rest`. The depth
    rule reads `gradient` for both, which therefore agree where there are others.
    """

    fan_in: float
    fan_out: float
    scale: str = "none"
    roles: tuple[str, ...] = ("hidden",)
    rest: Update = Update(gradient=0, weight=0)

    @property
    def scale_free(self) -> bool:
        """Never: the size of a step is that of the matrix, which unit scaling's rates do not know."""
        return False

    def scale_exponent(self, wide_fan_in: bool, wide_fan_out: bool) -> float:
        """x of scale ∝ n^x for a matrix whose dimensions grow as n, where they are wide."""
        small, large = (MATRIX_SCALES[self.scale](n**wide_fan_in, n**wide_fan_out) for n in (4.0, 16.0))
        return math.log(large / small, 4)


class Power(NamedTuple):
    """A factor (width/base_width)^width · (depth/base_depth)^depth."""

    width: float
    depth: float = 0.0

    def at(self, width_ratio: float, depth_ratio: float) -> float:
        return width_ratio**self.width * depth_ratio**self.depth


class AB(NamedTuple):
    """Exponents of the forward multiplier n^(−a) and of the initial standard deviation n^(−b)."""

    a: float
    b: float


@dataclass(frozen=True)
class Parameterization(Entry):
    """Exponents (a, b) per role; a learning-rate rule completes them with c.

    branch_exponent: α of the residual branches' multiplier depth^(−α), which also sets the rates inside branches; None
    where depth changes nothing. epsilon_rule, decay_rule: what a cell takes that names none. notes: where the source
    differs from its authors' code, or leaves a choice. unit_rates: unit scaling, which knows no base shape: n is each
    tensor's own fan-in (an embedding's width) and depth is counted from 1; these exponents of the rate per role,
    of optimizers like Adam, then stand for every rule.
    """

    rows: Mapping[str, AB]
    branch_exponent: float | None = None
    epsilon_rule: str = "constant"
    decay_rule: str = "constant_product"
    notes: tuple[str, ...] = field(default=(), repr=False)
    unit_rates: Mapping[str, float] | None = None

    @property
    def alpha(self) -> float:
        """α of the branches where no cell chooses another: 0 without a depth rule."""
        return self.branch_exponent or 0.0

    @property
    def unit(self) -> bool:
        """Whether sizes are absolute: unit scaling."""
        return self.unit_rates is not None

    def row(self, role: str) -> AB:
        """(a, b) of a role. Raises MusterError for an unknown role, or one that this parameterization leaves open."""
        known = ROLES[role]
        if role not in self.rows:
            raise MusterError(
                "parameterization",
                f"{self.summary!r} has no row for {role!r} ({known.summary})",
                f"Roles with a row: {', '.join(self.rows)}",
            )
        return self.rows[role]

    @property
    def readout_scale(self) -> float:
        """a_out + b_out: ½ for standard and neural tangent, 1 for µP and mean field; no shift a+θ, b−θ changes it."""
        return sum(self.row("readout"))

    def gradient(self, role: str) -> float:
        """Natural gradient exponent g: entries of ∂loss/∂w are ∝ n^(−g) at initialization.

        g = a + (a_out + b_out) below the readout, g = a at the readout and beyond it (chain rule; Everett et al. 2024
        scale Adam's ε by n^(−g)).
        """
        return self.row(role).a + ROLES[role].below_readout * self.readout_scale


ROLES: Registry[Role] = Registry("role")
PARAMETERIZATIONS: Registry[Parameterization] = Registry("parameterization")

for _name, _role in {
    "input": Role("Weights from a fixed number of inputs to the width", wide_fan_in=False, below_readout=True),
    "hidden": Role("Weights from width to width", wide_fan_in=True, below_readout=True),
    "readout": Role("Weights from the width to a fixed number of outputs", wide_fan_in=True, below_readout=False),
    "embedding": Role("Rows looked up, a token or position each (fan-in 1)", wide_fan_in=False, below_readout=True),
    "vector": Role("Biases and gains of hidden units (fan-in 1)", wide_fan_in=False, below_readout=True),
    "fixed": Role("Tensors no dimension of which grows: the readout's bias", wide_fan_in=False, below_readout=False),
}.items():
    ROLES.register(_name)(_role)

# Rows input, hidden, readout, as in Everett et al. 2024, Table 1; the three forms of µP as in Yang, Hu et al. 2022,
# Tables 9, 3 and 8.
_ROWS = {
    "sp": ("Standard: variance 1/fan_in, no multiplier", AB(0, 0), AB(0, 0.5), AB(0, 0.5)),
    "ntp": ("Neural tangent: unit variance, multiplier 1/√fan_in", AB(0, 0), AB(0.5, 0), AB(0.5, 0)),
    "mfp": ("Mean field: unit variance, readout multiplier 1/fan_in", AB(0, 0), AB(0.5, 0), AB(1, 0)),
    "mup": (
        "Maximal update (µP), variance 1/width everywhere: Table 9 of Tensor Programs V",
        AB(-0.5, 0.5),
        AB(0, 0.5),
        AB(0.5, 0.5),
    ),
    "mup_table3": ("µP without multipliers: Table 3 of Tensor Programs V", AB(0, 0), AB(0, 0.5), AB(0, 1)),
    "mup_table8": ("µP as the package mup has it: Table 8 of Tensor Programs V", AB(0, 0), AB(0, 0.5), AB(1, 0)),
}
# Biases start at 0 and gains at 1 everywhere, so no parameterization rescales the tensors that have no fan-in.
_UNSCALED = {"vector": AB(0, 0), "fixed": AB(0, 0)}


def _rows(first: AB, hidden: AB, readout: AB) -> dict[str, AB]:
    return {"input": first, "embedding": first, "hidden": hidden, "readout": readout, **_UNSCALED}


for _name, (_summary, *_three) in _ROWS.items():
    PARAMETERIZATIONS.register(_name)(Parameterization(_summary, _rows(*_three)))

_COMPLETEP_NOTES = (
    "ε: the paper's Table 1 scales it inside residual blocks only (epsilon_rule completep, the default here); the "
    "authors' code scales every group (completep_code), though gradients outside the blocks do not fall with depth",
    "decay: Table 1 has λ ∝ n in hidden weights at every α (decay_rule completep, the default here), so η·λ falls with "
    "depth as L^(α−1); constant_product keeps η·λ",
    "µP: Table 1 scales ε and λ in its µP column too, the authors' µP code leaves both alone; here mup_table8 with "
    "epsilon_rule and decay_rule gives either",
)

# Dey et al. 2025 (CompleteP), Table 1, whose width rules are Table 8 of Tensor Programs V; α = ½ is Depth-µP.
for _name, _alpha, _summary in (
    ("depth_mup", 0.5, "Depth-µP: mup_table8 and residual branches × depth^(−½) (Tensor Programs VI)"),
    ("completep", 1.0, "CompleteP: mup_table8 and residual branches × 1/depth (Dey et al. 2025, Table 1)"),
):
    PARAMETERIZATIONS.register(_name)(
        Parameterization(
            _summary,
            PARAMETERIZATIONS["mup_table8"].rows,
            branch_exponent=_alpha,
            epsilon_rule="completep",
            decay_rule="completep",
            notes=_COMPLETEP_NOTES,
        )
    )

PARAMETERIZATIONS.register("dmft")(
    Parameterization(
        "Mean field in width and depth: mfp and residual branches × depth^(−½) (Bordelon et al. 2024)",
        PARAMETERIZATIONS["mfp"].rows,
        branch_exponent=0.5,
        notes=(
            "readout: 1/(γ₀·n) with γ₀ = 1 at the base width; the public code hp-transfer-mlp divides by another √n "
            "and multiplies Adam's rates by √n, which is not this form",
        ),
    )
)

# Blake et al. 2024 as in the package unit-scaling 0.3.5: forward multipliers of its functions, rates of its Adam.
PARAMETERIZATIONS.register("umup")(
    Parameterization(
        "Unit-scaled µP (u-µP): unit variance, multipliers from each tensor's fan-in, no base shape",
        {**_rows(AB(0.5, 0), AB(0.5, 0), AB(1, 0)), "embedding": AB(0, 0)},
        branch_exponent=0.5,
        notes=(
            "sizes: n is a tensor's own fan-in (an embedding's width), L the depth; neither is over a base shape",
            "embeddings: their rate ∝ n^(−½) was found by experiment; µP derives n^0",
            "gains, init_gain: factors of the forward multiplier, as std(w) is 1; the package has them in its "
            "activations and its multipliers α",
            "gradients: the package rescales the backward pass, which Adam with ε = 0 does not see; only rates "
            "for such steps are here",
            "decay: the package's independent λ is our λ·η under constant_product",
        ),
        unit_rates={"input": -0.5, "embedding": -0.5, "hidden": -0.5, "readout": 0, "vector": 0, "fixed": 0},
    )
)
