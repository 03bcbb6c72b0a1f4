"""From exponents to numbers: what an engine applies to each tensor of a network at a given size."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from muster.errors import MusterError
from muster.parameterizations.rules import DECAY_RULES, EPSILON_RULES, RULES
from muster.parameterizations.tables import PARAMETERIZATIONS, ROLES, UPDATES, Parameterization

# What the initial entries are before they are scaled; `zeros` have no scale.
_INITS = {"normal": 1.0, "ones": 1.0, "zeros": 0.0}


class Tensor(NamedTuple):
    """A trainable tensor as a model family declares it.

    role: input | hidden | readout | vector | fixed (see `ROLES`). shape: (fan_in, fan_out), or (features,): fan-in 1.
    init: normal | zeros | ones. gain: standard parameterization has standard deviation gain/√fan_in.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    init: str = "normal"
    gain: float = 1.0

    @property
    def fan_in(self) -> int:
        return math.prod(self.shape[:-1])


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


class Power(NamedTuple):
    """A factor (width/base_width)^width · (depth/base_depth)^depth."""

    width: float
    depth: float = 0.0

    def at(self, width_ratio: float, depth_ratio: float) -> float:
        return width_ratio**self.width * depth_ratio**self.depth


class Exponents(NamedTuple):
    """The powers behind a `Scaling`; init_std is relative to the standard parameterization at the same width."""

    init_std: Power
    multiplier: Power
    lr: Power
    eps: Power
    weight_decay: Power


def exponents(
    table: Parameterization,
    optimizer: str,
    rule: str,
    role: str,
    *,
    epsilon_rule: str = "constant",
    decay_rule: str = "constant_product",
) -> Exponents:
    """Exponents of one role; arguments and errors as in `scalings`."""
    row = table.row(role)
    standard_b = 0.5 * ROLES[role].wide_fan_in
    rate = RULES[rule](table, UPDATES[optimizer], role)
    return Exponents(
        init_std=Power(standard_b - row.b),
        multiplier=Power(-row.a),
        lr=Power(rate),
        eps=Power(EPSILON_RULES[epsilon_rule](table, role)),
        weight_decay=Power(DECAY_RULES[decay_rule](rate)),
    )


def scalings(
    parameterization: str,
    optimizer: str,
    rule: str,
    tensors: Sequence[Tensor],
    *,
    width_ratio: float,
    depth_ratio: float = 1.0,
    epsilon_rule: str = "constant",
    decay_rule: str = "constant_product",
) -> dict[str, Scaling]:
    """The scaling of each tensor, by name, relative to a base shape where every parameterization is the standard one.

    width_ratio = width/base_width and depth_ratio = depth/base_depth, both positive. Formulas: `stable_rate` and the
    other rules on the exponents in PARAMETERIZATIONS (Everett et al. 2024, Table 1; Yang, Hu et al. 2022, Tables 3, 8
    and 9).
    `constant_product` makes decay, too, the same in every form of one parameterization for sgd, momentum, adamw and
    adafactor; not for adam, whose L2 penalty passes through the normalization of the gradient.

    Raises MusterError for an unknown name, role or init, a ratio or dimension that is not positive, and repeated names.
    """
    table = PARAMETERIZATIONS[parameterization]
    _check(tensors, width_ratio, depth_ratio)
    result = {}
    for tensor in tensors:
        powers = exponents(table, optimizer, rule, tensor.role, epsilon_rule=epsilon_rule, decay_rule=decay_rule)
        factors = Scaling(*(power.at(width_ratio, depth_ratio) for power in powers))
        standard = _INITS[tensor.init] * tensor.gain / math.sqrt(tensor.fan_in)
        result[tensor.name] = factors._replace(init_std=standard * factors.init_std)
    return result


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
