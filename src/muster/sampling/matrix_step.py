"""First steps of optimizers that precondition whole matrices, on random tanh networks of growing width.

`depth` hidden tanh layers z_l = h_{l−1} W_l (base width 1: the readout of mup_table3 has standard deviation 1/n),
squared error ½‖f − y‖², a fresh batch of m examples each step, normal inputs and targets. Every layer is stepped by the
same rule at its own rate `rate` · n^x, x from `rule`. With gradient G = hᵀδ/m [in, out], where δ is each sample's own
derivative by z, and damped moments A = hᵀh/m + ρ_A, B = δᵀδ/m + ρ_B:
- `kfac`: A⁻¹ G B⁻¹ (Martens & Grosse 2015, empirical Fisher matrix of the batch), `foof`: A⁻¹ G (Benzing 2022);
- `sgd`: G; others as they are registered for training, here in all layers.
G, A and B of t steps live in the span of t·m vectors, and all these rules turn with G (AG B ↦ Q₁AGBQ₂): steps are taken
on cores of size t·m, exactly, at n² a step instead of n³. Damping (Ishikawa & Karakida 2024, and their code
riverstone496/classmup): `scaled` as the moments, ρ_A ∝ n^[wide fan-in], ρ_B ∝ n^(1 − 2 b_out) below the readout;
`constant`; `traces`, over tr A and tr B; `pi`, √ρ π and √ρ/π with π² = (tr A/in)/(tr B/out) (Martens & Grosse, 6.3).

Probes at steps 1 and `steps`: `change`, RMS over units and fresh inputs of the change of z_l since the start (layer
depth + 1: the output), and at step 1 `own_change`, of h_{l−1} ΔW_l: a layer's own share. Geometric means over draws.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from muster.experiments import EXPERIMENTS, Cell, Context, Cost, Experiment, Outcome, probe_example
from muster.optimizers import DIRECTIONS
from muster.parameterizations.scaling import Tensor, scalings
from muster.parameterizations.tables import MATRIX_SCALES, PARAMETERIZATIONS, ROLES, MatrixUpdate, Parameterization
from muster.sampling.draws import geometric_mean
from muster.sampling.random_network import generator
from muster.sampling.tables import outcome

if TYPE_CHECKING:
    import torch

    Array = torch.Tensor
    Batch = tuple[Array, Array]  # inputs h [D, m, in] and derivatives δ [D, m, out] of a layer

MATRICES = ("input", "hidden", "readout")
OWN = {  # rules that no optimizer of training has, or not for whole matrices
    "sgd": MatrixUpdate(gradient=1, weight=0, fan_in=0, fan_out=0, roles=MATRICES),
    "kfac": MatrixUpdate(gradient=-1, weight=0, fan_in=1, fan_out=1, roles=MATRICES),
    "foof": MatrixUpdate(gradient=1, weight=0, fan_in=1, fan_out=0, roles=MATRICES),
}
# Their defaults in training. They stand here, for no cell names them: what a cell does is then in its code.
HYPERPARAMETERS = {
    "muon": {"momentum": 0.95, "newton_schulz": 5},
    "shampoo": {"momentum": 0.9, "preconditioner_decay": 0.95, "interval": 1, "ridge": 1e-6, "absolute_ridge": 0.0},
    "soap": {"momentum": 0.9, "preconditioner_decay": 0.95, "interval": 1, "rotated_decay": 0.95,
             "rotated_epsilon": 1e-6},
}  # fmt: skip
HELD_ENTRIES = 8_000_000  # weights held at a time
SECONDS_PER_WEIGHT = 5e-8  # to draw one, and for each step


class MatrixStepCell(Cell):
    """One width, optimizer and damping."""

    free_names: ClassVar[tuple[str, ...]] = ("optimizer",)
    # Entries that the code takes of registries whose names stand in no field: else all of them count in a fingerprint.
    fixed_names: ClassVar[Mapping[str, str]] = {"epsilon_rule": "constant", "decay_rule": "constant"}

    parameterization: str = Field("mup_table3", description="Relative to width 1; one without multipliers")
    depth: int = Field(3, ge=1, description="Hidden layers")
    optimizer: Literal["sgd", "kfac", "foof", "muon", "shampoo", "soap"] = Field(description="What steps every matrix")
    scale: Literal["none", "spectral", "jordan", "moonshot"] = Field(
        "none", description="Factor on muon's, shampoo's and soap's steps by their shape; the rule counts it in"
    )
    rule: Literal["spectral", "spectral_omega_out_1", "constant"] = Field("spectral", description="Learning-rate rule")
    rate: float = Field(1e-3, gt=0, description="Learning rate at width 1")
    damping_rule: Literal["scaled", "constant", "traces", "pi"] = Field("scaled", description="How ρ follows the width")
    damping: float = Field(0.1, gt=0, description="ρ of kfac and foof at width 1, or over the traces")
    steps: int = Field(4, ge=1, le=32, description="Steps; probes are taken after the first and the last")
    batch_size: int = Field(16, ge=1, description="Examples of a step")
    inputs: int = Field(8, ge=1, description="Input dimension")
    outputs: int = Field(3, ge=1, description="Output dimension")
    probe_examples: int = Field(64, ge=1, description="Fresh inputs on which changes are measured")
    draws: int = Field(4, ge=2, le=10**6, description="Random networks sampled")

    @field_validator("parameterization")
    @classmethod
    def _without_multipliers(cls, name: str) -> str:
        if name not in PARAMETERIZATIONS or any(PARAMETERIZATIONS[name].row(role).a for role in MATRICES):
            raise ValueError(f"parameterization {name!r} is none without multipliers: write mup_table3 or sp")
        return name


def update_of(cell: MatrixStepCell) -> MatrixUpdate:
    """How the cell's steps scale, all matrices being stepped alike."""
    if cell.optimizer in OWN:
        return OWN[cell.optimizer]
    return replace(DIRECTIONS[cell.optimizer].update, scale=cell.scale, roles=MATRICES)


def damping_exponents(table: Parameterization, role: str) -> tuple[float, float]:
    """Exponents of ρ_A and ρ_B ∝ n^x that follow the largest eigenvalues of both moments of a layer."""
    return float(ROLES[role].wide_fan_in), ROLES[role].below_readout * (1 - 2 * table.readout_scale)


def dampings(cell: MatrixStepCell, role: str, a: "Array", b: "Array", fan_in: int, fan_out: int) -> "Batch":
    """ρ_A and ρ_B [D, 1, 1] of a layer with undamped moments a and b, of any basis that spans them."""
    traces = [s.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None] for s in (a, b)]
    if cell.damping_rule == "traces":
        return cell.damping * traces[0], cell.damping * traces[1]
    if cell.damping_rule == "pi":
        pi = ((traces[0] / fan_in) / (traces[1] / fan_out)).sqrt()
        return cell.damping**0.5 * pi, cell.damping**0.5 / pi
    powers = damping_exponents(PARAMETERIZATIONS[cell.parameterization], role)
    first, second = (cell.width ** (x if cell.damping_rule == "scaled" else 0.0) for x in powers)
    ones = traces[0].new_ones(1, 1, 1)
    return cell.damping * first * ones, cell.damping * second * ones


def step_of(cell: MatrixStepCell, role: str, history: "list[Batch]") -> "tuple[Array, Array]":
    """Factors [D, in, r] and [D, r, out] of a layer's step per unit of the rate, after the batches so far, the last one
    included."""
    import torch

    q_in, q_out = (torch.linalg.qr(torch.cat(parts, 1).mT)[0] for parts in zip(*history, strict=True))
    within = [(h @ q_in, d @ q_out) for h, d in history]
    cores = [h.mT @ d / h.shape[1] for h, d in within]
    core = cores[-1]
    if cell.optimizer in ("kfac", "foof"):
        a, b = (s.mT @ s / s.shape[1] for s in within[-1])
        rho_a, rho_b = dampings(cell, role, a, b, q_in.shape[1], q_out.shape[1])
        core = torch.linalg.solve(a + rho_a * torch.eye(a.shape[-1], dtype=a.dtype), core)
        if cell.optimizer == "kfac":
            core = torch.linalg.solve(b + rho_b * torch.eye(b.shape[-1], dtype=b.dtype), core, left=False)
    elif cell.optimizer != "sgd":
        rule, settings = DIRECTIONS[cell.optimizer], SimpleNamespace(**HYPERPARAMETERS[cell.optimizer])
        state = rule.empty(core)
        for number, past in enumerate(cores, start=1):
            core = rule.direction(settings, state, past, number)
        core = core * MATRIX_SCALES[cell.scale](q_in.shape[1], q_out.shape[1])
    return q_in @ core, q_out.mT


def forward(weights: "list[Array]", x: "Array") -> "tuple[list[Array], list[Array]]":
    """What each layer multiplies, and its preactivations: [D, m, …] each."""
    h: list[Array] = []
    z: list[Array] = []
    for w in weights:
        h.append(z[-1].tanh() if z else x)
        z.append(h[-1] @ w)
    return h, z


def backward(weights: "list[Array]", h: "list[Array]", error: "Array") -> "list[Array]":
    """Derivative of each sample's ½‖f − y‖² by every preactivation, from that by the last one."""
    found = [error]
    for w, below in zip(weights[:0:-1], h[:0:-1], strict=True):
        found.insert(0, (found[0] @ w.mT) * (1 - below**2))
    return found


def layers(cell: MatrixStepCell) -> list[Tensor]:
    """The matrices of the network."""
    sizes = [cell.inputs, *[cell.width] * cell.depth, cell.outputs]
    roles = ["input", *["hidden"] * (cell.depth - 1), "readout"]
    return [Tensor(f"w{i}", role, sizes[i : i + 2]) for i, role in enumerate(roles)]  # type: ignore[arg-type]


def sample(cell: MatrixStepCell, rng: np.random.Generator, count: int) -> "Iterator[tuple[int, str, int, Array]]":
    """Rows (step, probe, layer from 1, RMS of each draw [count])."""
    import torch

    def normal(*shape: int) -> "Array":
        return torch.from_numpy(rng.standard_normal((count, *shape)))

    def rms(values: "Array") -> "Array":
        return values.square().mean((1, 2)).sqrt()

    tensors = layers(cell)
    names, ratio = cell.fixed_names, cell.width
    applied = scalings(
        cell.parameterization, update_of(cell), cell.rule, tensors, width_ratio=ratio,
        epsilon_rule=names["epsilon_rule"], decay_rule=names["decay_rule"],
    )  # fmt: skip
    numbers = [applied[tensor.name] for tensor in tensors]
    weights = [normal(*tensor.shape).mul_(each.init_std) for tensor, each in zip(tensors, numbers, strict=True)]
    probe = normal(cell.probe_examples, cell.inputs)
    h_0, z_0 = forward(weights, probe)
    history: list[list[Batch]] = [[] for _ in tensors]
    for step in range(1, cell.steps + 1):
        h, z = forward(weights, normal(cell.batch_size, cell.inputs))
        deltas = backward(weights, h, z[-1] - normal(cell.batch_size, cell.outputs))
        for layer, (tensor, each) in enumerate(zip(tensors, numbers, strict=True)):
            history[layer].append((h[layer], deltas[layer]))
            left, right = step_of(cell, tensor.role, history[layer])
            weights[layer].baddbmm_(left, right, alpha=-cell.rate * each.lr)
            if step == 1:
                yield 1, "own_change", layer + 1, cell.rate * each.lr * rms(h_0[layer] @ left @ right)
        if step in (1, cell.steps):
            _, z_t = forward(weights, probe)
            yield from ((step, "change", layer + 1, rms(z_t[layer] - z_0[layer])) for layer in range(len(tensors)))


def _weights(cell: MatrixStepCell) -> int:
    return sum(math.prod(tensor.shape) for tensor in layers(cell))


def run(cell: MatrixStepCell, context: Context) -> Outcome:
    """Sample the networks; cells with different settings use independent random numbers."""
    rng, found = generator(cell), dict[tuple[int, str, int], list[NDArray[np.float64]]]()
    size = max(1, HELD_ENTRIES // _weights(cell))
    for start in range(0, cell.draws, size):
        for step, probe, layer, values in sample(cell, rng, min(size, cell.draws - start)):
            found.setdefault((step, probe, layer), []).append(values.numpy())
    rows = [(*key, *geometric_mean(np.concatenate(parts))) for key, parts in found.items()]
    return outcome(rows, flops=cost(cell).flops)


def cost(cell: MatrixStepCell) -> Cost:
    """Forward and backward passes, and products with the low-rank steps."""
    entries = float(cell.draws) * _weights(cell)
    a_step = 6.0 * cell.batch_size + 2.0 * cell.batch_size * cell.steps + 2.0 * cell.probe_examples
    held = min(entries, max(HELD_ENTRIES, _weights(cell)))
    return Cost(cell.steps * a_step * entries, SECONDS_PER_WEIGHT * (1 + cell.steps) * entries, 2e8 + 16.0 * held)


EXPERIMENTS.register("matrix_step")(
    Experiment(
        summary="First steps of Muon, Shampoo, SOAP, K-FAC and FOOF on random networks of growing width",
        stage="sample",
        cell=MatrixStepCell,
        cost=cost,
        run=run,
        example=probe_example(
            "change",
            {"optimizer": "muon", "draws": 8},
            {"width": [128, 181, 256, 362, 512]},
            select={"step": 1, "layer": 2},
            smoke={"draws": 2},
            smoke_grid=[{"width": [32, 45, 64], "seeds": 1}],
        ),
    )
)
