"""Stacked engine against loops of plain torch models and against compiled JAX: the same sweep on one core.

    taskset -c 0 python benchmarks/engine.py [--families mlp resmlp] [--widths 32 64 ...] [--batches 64 128]

Every case trains a sweep of learning rates of a bias-free ReLU network with 40 inputs and 10 classes: an MLP with 3
hidden layers, or a residual network of width 64 with 16 blocks of one layer.
Ours and the baselines take turns; a ratio is the median over the turns of baseline_seconds / ours_seconds. Seconds are
CPU seconds of all threads, per member and step: what else runs on the machine disturbs the caches, not the clock. JAX
runs where its environment is (`jax_client.py`), as the faster of its two forms. Writes benchmarks/results/engine.json,
where cases that were not measured this time stay as they were.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from jax_client import Jax, interpreter
from muster.experiments import Context
from muster.models import SHAPES
from muster.training.cell import TrainCell
from muster.training.engine import Data, Stack, stack_sizes

MEMBERS, INPUTS, OUTPUTS, HIDDEN = 12, 40, 10, 3
BLOCKS, RESIDUAL_WIDTH = 16, 64
ON_TORCH = "muster with MUSTER_NATIVE=0"
RESULTS = Path(__file__).parent / "results" / "engine.json"


def data(batch: int) -> Data:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((64 * batch, INPUTS), np.float32))
    y = torch.from_numpy(rng.integers(0, OUTPUTS, 64 * batch))
    return Data(x, y, (x[:8], y[:8]), (x[:8], y[:8]), OUTPUTS)


def ours(
    cell: TrainCell, values: Data, steps: int, by_torch: bool = False, dtype: str = "float32"
) -> Callable[[], None]:
    """Train all members of a cell with the engine, without evaluation and probes; by_torch: as MUSTER_NATIVE=0 does."""
    sizes = [math.prod(spec.shape) for spec in SHAPES[cell.family].tensors(cell, values.x.shape[1], values.outputs)]
    cuts = stack_sizes(sum(sizes), max(sizes), len(cell.log2_lr), torch.device("cpu"))
    stacks = [Stack(cell, members, values, Context(dtype=dtype)) for members in cuts]
    for stack in stacks:
        if by_torch:
            stack.native = None
            if dtype != "bfloat16":
                stack.workspace = stack.model.workspace(stack.weights, stack.multiplier, stack.batches.batch_size)
        with torch.no_grad():
            stack.start()

    @torch.no_grad()
    def train() -> None:
        for stack in stacks:
            last = stack.step + steps
            while stack.step < last:
                stack.advance(last - stack.step)

    return train


def sweep(family: str, width: int, batch: int, optimizer: str) -> TrainCell:
    return TrainCell(
        family=family, width=width, depth=HIDDEN if family == "mlp" else BLOCKS, seed=0,
        log2_lr=[-12 + i / 2 for i in range(MEMBERS)], batch_size=batch,
        steps=10**6, optimizer=optimizer, rule="constant", schedule="constant", divergence_ratio=1e9,
    )  # fmt: skip


class Residual(nn.Module):
    """h + W φ(h) / √L in every block; the readout sees φ(h)."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.readout = nn.Linear(INPUTS, width, bias=False), nn.Linear(width, OUTPUTS, bias=False)
        self.blocks = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(BLOCKS))

    def forward(self, x):
        h = self.first(x)
        for block in self.blocks:
            h = h + block(nn.functional.relu(h)) * BLOCKS**-0.5
        return self.readout(nn.functional.relu(h))


def plain_model(width: int) -> nn.Module:
    sizes = [INPUTS, *[width] * HIDDEN]
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, OUTPUTS, bias=False))


def loop(
    models: list[nn.Module], optimizers: list[torch.optim.Optimizer], batch: int, steps: int
) -> Callable[[], None]:
    """The usual recipe: one model after another, one batch after another."""
    values = data(batch)

    def train() -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            for step in range(steps):
                part = slice(step % 64 * batch, (step % 64 + 1) * batch)
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(values.x[part]), values.y[part]).backward()
                optimizer.step()

    return train


def torch_loop(family: str, width: int, batch: int, steps: int, optimizer: str, fused: bool) -> Callable[[], None]:
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    models = [plain_model(width) if family == "mlp" else Residual(width) for _ in range(MEMBERS)]
    options = {"fused": True} if fused else {}
    return loop(models, [kinds[optimizer](m.parameters(), lr=2**-10, **options) for m in models], batch, steps)


def mup_loop(width: int, batch: int, steps: int) -> Callable[[], None]:
    """The package mup's own recipe: MuReadout, set_base_shapes, MuAdam."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mup import MuAdam, MuReadout, set_base_shapes

    def build(n: int) -> nn.Module:
        model = plain_model(n)
        model[-1] = MuReadout(n, OUTPUTS, bias=False)
        return model

    models = []
    for _ in range(MEMBERS):
        model = build(width)
        set_base_shapes(model, build(16), delta=build(24))
        models.append(model)
    return loop(models, [MuAdam(m.parameters(), lr=2**-10) for m in models], batch, steps)


def gemm_rate(width: int, batch: int) -> float:
    """Matrix-product rate of this machine in FLOP/s at the engine's largest product, best of several."""
    a, b, out = torch.randn(batch, width), torch.randn(width, width), torch.empty(batch, width)
    repeats = max(10, int(2e8 / (batch * width**2)))
    best = 0.0
    for _ in range(7):
        begun = time.process_time()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        best = max(best, 2.0 * batch * width**2 * repeats / (time.process_time() - begun))
    return best


class Turns:
    """CPU seconds, per member and step, of contenders that took turns after one warm-up; `ours` is the first."""

    def __init__(self, contenders: dict[str, Callable[[], None]], jax: Jax | None, repeats: int, per: int):
        self.times: dict[str, list[float]] = {name: [] for name in contenders}
        by_jax: list[list[float]] = []
        for turn in range(repeats + 1):
            for name, run in contenders.items():
                begun = time.process_time()
                run()
                if turn:
                    self.times[name].append((time.process_time() - begun) / per)
            if jax and turn:
                by_jax.append(jax.seconds())
        if jax:
            self.times[jax.name] = min(([*form] for form in zip(*by_jax, strict=True)), key=statistics.median)

    def seconds(self, name: str) -> float:
        return statistics.median(self.times[name])

    def rows(self, case: str, usual: str, about: str, share: float | None) -> list[dict]:
        """One row a baseline; `usual` is the one that needs no name. about: what loops of torch models are.
        share: of the rate of matrix products, where it is known."""
        rows = []
        for name in list(self.times)[1:]:
            ratio = statistics.median(b / a for a, b in zip(self.times["ours"], self.times[name], strict=True))
            row = {
                "case": case + ("" if name == usual else f" vs {name}"),
                "ours_seconds": self.seconds("ours"),
                "baseline_seconds": self.seconds(name),
                "ratio": ratio,
                "baseline": f"{about}, {name}" if "." in name and not name.startswith("jax") else name,
            } | ({} if share is None else {"gemm_share": share})
            rows.append(row)
            print(
                f"{row['case']:<72} {ratio:6.2f} x" + (f"   {share:4.0%} of the GEMM rate" if share else ""), flush=True
            )
        return rows


def write(path: Path, rows: list[dict]) -> None:
    """Put rows in the place of those that were measured before."""
    measured = {row["case"] for row in rows}
    before = json.loads(path.read_text()) if path.exists() else []
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([row for row in before if row["case"] not in measured] + rows, indent=1) + "\n")


def measure(family: str, width: int, batch: int, optimizer: str, jax: Jax | None, repeats: int) -> list[dict]:
    """The rows of one case."""
    steps = max(3, min(60, 8192 // width))
    usual = f"torch.optim.{optimizer.capitalize()}"
    contenders = {
        "ours": ours(sweep(family, width, batch, optimizer), data(batch), steps),
        usual: torch_loop(family, width, batch, steps, optimizer, fused=False),
        f"{usual}(fused=True)": torch_loop(family, width, batch, steps, optimizer, fused=True),
    }
    if optimizer == "adam" and family == "mlp":
        contenders["mup.MuAdam"] = mup_loop(width, batch, steps)
    contenders[ON_TORCH] = ours(sweep(family, width, batch, optimizer), data(batch), steps, by_torch=True)
    depth = {"hidden": HIDDEN} if family == "mlp" else {"blocks": BLOCKS}
    if jax:
        jax.prepare(
            family=family, width=width, batch=batch, members=MEMBERS, inputs=INPUTS, outputs=OUTPUTS, steps=steps,
            **depth,
        )  # fmt: skip
    turns = Turns(contenders, jax if optimizer == "adam" else None, repeats, MEMBERS * steps)
    squares = HIDDEN - 1 if family == "mlp" else BLOCKS
    parameters = INPUTS * width + squares * width**2 + width * OUTPUTS
    share = (6.0 * parameters - 2.0 * INPUTS * width) * batch / turns.seconds("ours") / gemm_rate(width, batch)
    case = f"{optimizer} batch={batch} width={width}"
    if family != "mlp":
        case = f"{family} blocks={BLOCKS} {case}"
    return turns.rows(case, usual, "loop of torch.nn models", share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=["mlp", "resmlp"], choices=["mlp", "resmlp"])
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024], help="of the MLP")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--optimizers", nargs="+", default=["adam"], choices=["adam", "sgd"])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    jax = Jax(python) if (python := interpreter()) else None
    rows = []
    for family, optimizer, batch in itertools.product(arguments.families, arguments.optimizers, arguments.batches):
        for width in arguments.widths if family == "mlp" else [RESIDUAL_WIDTH]:
            rows += measure(family, width, batch, optimizer, jax, arguments.repeats)
    write(RESULTS, rows)


if __name__ == "__main__":
    main()
