"""From exponents to numbers: what an engine applies to each tensor of a network at a given size."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from muster.errors import MusterError
from muster.parameterizations.rules import DECAY_RULES, EPSILON_RULES, ONE_RATE, RULES, branch_rate
from muster.parameterizations.tables import PARAMETERIZATIONS, ROLES, Parameterization, Power, Update

# What the initial entries are before they are scaled; `zeros` have no scale.
_INITS = {"normal": 1.0, "ones": 1.0, "zeros": 0.0}


class Tensor(NamedTuple):
    """A trainable tensor as a model family declares it.

    role: input | embedding | hidden | readout | vector | fixed (see `ROLES`). shape: (fan_in, fan_out); (rows, width)
    of an embedding, or (features,): fan-in 1. init: normal | zeros | ones. gain: standard parameterization has standard
    deviation gain/√fan_in. rate: the family's own factor on the learning rate, beside the powers of width and depth.
    branch: it lies inside a residual branch. uses: how often one example multiplies it in a forward pass (once a
    position where positions share it, 0 in a lookup).
    """

    name: str
    role: str
    shape: tuple[int, ...]
    init: str = "normal"
    gain: float = 1.0
    rate: float = 1.0
    branch: bool = False
    uses: int = 1

    @property
    def fan_in(self) -> int:
        return 1 if self.role == "embedding" else math.prod(self.shape[:-1])

    @property
    def unit_size(self) -> int:
        """n of unit scaling: fan-in, or the width of an embedding."""
        return self.shape[-1] if self.role == "embedding" else self.fan_in


class Factor(NamedTuple):
    """A factor of the forward pass that belongs to no tensor: `value` is ∝ n^(−a) in the width n.

    shape: of what it multiplies, as far as width decides it.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    value: float
    a: float


class Scaling(NamedTuple):
    """Numbers for one tensor: W = multiplier · w enters the forward pass, w is trained.

    init_std: standard deviation of w (the value itself for init `ones`, 0 for `zeros`).
    lr, eps, weight_decay: factors on the learning rate, ε and weight decay of the whole network.
    """

    init_std: float
    multiplier: float
    lr: float
    eps: float
    weight_decay: float


class Exponents(NamedTuple):
    """The powers behind a `Scaling`; init_std is relative to the standard parameterization at the same width."""

    init_std: Power
    multiplier: Power
    lr: Power
    eps: Power
    weight_decay: Power


def exponents(
    table: Parameterization,
    update: Update,
    rule: str,
    role: str,
    *,
    branch: bool = False,
    alpha: float | None = None,
    epsilon_rule: str = "constant",
    decay_rule: str = "constant_product",
) -> Exponents:
    """Exponents of one role, inside a residual branch or not; arguments and errors as in `scalings`."""
    row = table.row(role)
    standard_b = 0.0 if table.unit else 0.5 * ROLES[role].wide_fan_in
    chosen = table.branch_exponent if alpha is None else alpha
    follows_depth = branch and chosen is not None and rule not in ONE_RATE
    rate = Power(RULES[rule](table, update, role), branch_rate(update, chosen or 0.0) if follows_depth else 0.0)
    return Exponents(
        init_std=Power(standard_b - row.b),
        multiplier=Power(-row.a),
        lr=rate,
        eps=EPSILON_RULES[epsilon_rule](table, role, branch, chosen or 0.0),
        weight_decay=DECAY_RULES[decay_rule](rate),
    )


def scalings(
    parameterization: str,
    update: Update,
    rule: str,
    tensors: Sequence[Tensor],
    *,
    width_ratio: float,
    depth_ratio: float = 1.0,
    alpha: float | None = None,
    epsilon_rule: str = "constant",
    decay_rule: str = "constant_product",
) -> dict[str, Scaling]:
    """The scaling of each tensor, by name, relative to a base shape where every parameterization is the standard one.

    update: how the optimizer's step scales. width_ratio = width/base_width and depth_ratio = depth/base_depth, both
    positive; `shape_ratios` has them for a cell. alpha: exponent of the multiplier depth^(−alpha) of residual branches,
    the parameterization's own if None; tensors with `branch` get the rates that go with it. Formulas: `stable_rate`,
    `branch_rate` and the other rules on the exponents in PARAMETERIZATIONS (Everett et al. 2024, Table 1; Yang, Hu et
    al. 2022, Tables 3, 8 and 9; Dey et al. 2025, Table 1). Unit scaling (umup) has no base shape and reads widths off
    the tensors. `constant_product` makes decay, too, the same in every form of one parameterization; not for adam,
    whose L2 penalty passes through the normalization of the gradient.

    Raises MusterError for an unknown name, role or init, a ratio or dimension that is not positive, repeated names, and
    an update or rule for which unit scaling has no rates.
    """
    table = PARAMETERIZATIONS[parameterization]
    _check(tensors, width_ratio, depth_ratio)
    if table.unit:
        _check_unit(parameterization, update, rule)
    rules = {"epsilon_rule": epsilon_rule, "decay_rule": decay_rule}
    result = {}
    for tensor in tensors:
        powers = exponents(table, update, rule, tensor.role, branch=tensor.branch, alpha=alpha, **rules)
        size = tensor.unit_size if table.unit else width_ratio
        factors = Scaling(*(power.at(size, depth_ratio) for power in powers))
        standard = _INITS[tensor.init] * tensor.gain / math.sqrt(tensor.fan_in)
        if table.unit:  # unit variance: a gain multiplies the forward pass, except 0, which means a start at 0
            standard = _INITS[tensor.init] * bool(tensor.gain)
            factors = factors._replace(multiplier=factors.multiplier * (tensor.gain or 1.0))
        # A rule that answers a rate r^x with a decay r^y answers the family's factor with its y-th power for x = 1.
        result[tensor.name] = factors._replace(
            init_std=standard * factors.init_std,
            lr=tensor.rate * factors.lr,
            weight_decay=tensor.rate ** DECAY_RULES[decay_rule](Power(1.0)).width * factors.weight_decay,
        )
    return result


def _check_unit(parameterization: str, update: Update, rule: str) -> None:
    if not update.scale_free:
        found = f"{parameterization} has no rates for steps ∝ |gradient|^{update.gradient:g}·|w|^{update.weight:g}"
        raise MusterError("optimizer", found, "Choose one whose steps see neither size, such as adam")
    if rule == "global":
        remedy = "Choose full_alignment for its own rates, or constant"
        raise MusterError("rule", f"{parameterization} has no base shape to which one rate could be relative", remedy)


def _check(tensors: Sequence[Tensor], width_ratio: float, depth_ratio: float) -> None:
    for name, ratio in (("width_ratio", width_ratio), ("depth_ratio", depth_ratio)):
        if not 0 < ratio < math.inf:
            raise MusterError(name, f"{ratio}", "It must be a positive number: this shape over the base shape")
    for name, count in Counter(tensor.name for tensor in tensors).items():
        if count > 1:
            raise MusterError("tensors", f"{count} tensors are named {name!r}", "Give each tensor its own name")
    for tensor in tensors:
        if tensor.init not in _INITS:
            raise MusterError(f"tensor {tensor.name}", f"unknown init {tensor.init!r}", f"Known: {', '.join(_INITS)}")
        if not tensor.shape or min(tensor.shape) < 1:
            raise MusterError(f"tensor {tensor.name}", f"shape {tensor.shape}", "Every dimension must be at least 1")
