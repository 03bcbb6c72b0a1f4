"""Train all members of a cell side by side.

Members are cut into stacks that fit the cache; a stack's weights carry a leading member axis E and every operation acts
on each member alone, so a member's numbers do not depend on its neighbours. All members start from the same standard
normal draws and see the same batches. A diverged member is dropped from its stack at the next check.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from muster.data import DATASETS, Arrays, dimensions, load_dataset, validate
from muster.errors import MusterError
from muster.experiments import Context, Outcome
from muster.models import FAMILIES
from muster.optimizers import OPTIMIZERS
from muster.optimizers.base import Hyper, Optimizer
from muster.parameterizations.depth import shape_ratios
from muster.parameterizations.scaling import scalings
from muster.settings import chosen_values
from muster.training import checkpoint, compiled, recorded, schedules
from muster.training.clipping import clip_gradients
from muster.training.device import DTYPES, autocast, resolve
from muster.training.losses import LOSSES
from muster.training.probes import PROBES
from muster.training.snapshot import Snapshot
from muster.training.stacks import most_members

if TYPE_CHECKING:
    from muster.training.cell import TrainCell

CHECK_EVERY = 16  # steps between looks at the loss for divergence
EVALUATION_SLICE = 512  # outputs evaluated at once, of one member
CHECKPOINT_SECONDS = 30.0


@dataclass
class Data:
    """The data set on the device, its fixed evaluation subsets and the probe batch.

    fresh: batches (generator, size) of a data set that is a distribution; None where training goes through x and y.
    positions: outputs that an example has, one a token of a sequence, else 1.
    """

    x: Tensor
    y: Tensor
    train: tuple[Tensor, Tensor]
    heldout: tuple[Tensor, Tensor]
    outputs: int
    fresh: Callable[[np.random.Generator, int], tuple[Tensor, Tensor]] | None = None
    positions: int = 1

    @classmethod
    def of(cls, arrays: Arrays, cell: "TrainCell", device: torch.device, dtype: torch.dtype) -> "Data":
        def move(values: np.ndarray) -> Tensor:
            tensor = torch.from_numpy(np.ascontiguousarray(values))
            return tensor.to(device, dtype if tensor.is_floating_point() else None)

        chosen = subset(len(arrays.train_x), cell)
        x, y = move(arrays.train_x[chosen]).flatten(1), move(arrays.train_y[chosen])
        heldout_x, heldout_y = move(arrays.heldout_x).flatten(1), move(arrays.heldout_y)
        n = cell.evaluation_examples
        shape = dimensions(cell.data, cell.data_options)
        stream, options = DATASETS[cell.data].stream, validate(cell.data, cell.data_options)

        def fresh(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
            drawn = stream(options, rng, count)  # type: ignore[misc]
            return move(drawn[0]).flatten(1), move(drawn[1])

        heldout = heldout_x[:n], heldout_y[:n]
        return cls(x, y, (x[:n], y[:n]), heldout, shape.outputs, fresh if stream else None, shape.positions)


def subset(available: int, cell: "TrainCell") -> np.ndarray | slice:
    """The training examples of a cell: all, or `examples` of them at random, a function of (seed, examples).

    Raises MusterError when the data set holds fewer.
    """
    if cell.examples is None:
        return slice(None)
    if cell.examples > available:
        remedy = f"{cell.data} holds {available} training examples: raise data_options.train, or ask for fewer"
        raise MusterError("examples", f"{cell.examples} examples asked for", remedy)
    return np.random.default_rng([cell.seed, 2, cell.examples]).permutation(available)[: cell.examples]


class Batches:
    """The batch of every step, a pure function of (seed, step): reshuffled each epoch, last partial batch dropped; or
    drawn afresh where the data set is a distribution."""

    def __init__(self, data: Data, seed: int, batch_size: int):
        self.data, self.seed = data, seed
        self.batch_size = batch_size if data.fresh else min(batch_size, len(data.x))
        self.per_epoch = len(data.x) // self.batch_size
        self._epoch = -1

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        if self.data.fresh:
            return self.data.fresh(np.random.default_rng([self.seed, 1, step]), self.batch_size)
        if self.batch_size == len(self.data.x):
            return self.data.x, self.data.y
        index = self._index(step)
        return self.data.x[index], self.data.y[index]

    def block(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """The batches of `count` steps, along a new first axis."""
        if self.data.fresh:
            x, y = zip(*[self[k] for k in range(step, step + count)], strict=True)
            return torch.stack(x), torch.stack(y)
        if self.batch_size == len(self.data.x):
            return self.data.x.expand(count, *self.data.x.shape), self.data.y.expand(count, *self.data.y.shape)
        index = torch.cat([self._index(k) for k in range(step, step + count)])
        return self.data.x[index].unflatten(0, (count, -1)), self.data.y[index].unflatten(0, (count, -1))

    def _index(self, step: int) -> Tensor:
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, 1, epoch]).permutation(len(self.data.x))
            self._order = torch.from_numpy(order).to(self.data.x.device)
            self._epoch = epoch
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]


@dataclass
class Records:
    """What a stack has measured so far, as plain rows: member index first."""

    curves: list[tuple[int, int, float, float]] = field(default_factory=list)
    probes: list[tuple[int, int, str, int, float]] = field(default_factory=list)
    diverged: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    path: str = ""  # what computed gradients: native, workspace (by hand in torch), autograd


class Stack:
    """Some members of a cell in training."""

    def __init__(self, cell: "TrainCell", members: list[int], data: Data, context: Context):
        self.cell, self.data, self.context = cell, data, context
        self.members = list(members)
        self.dtype = DTYPES[context.dtype]
        self.device = data.x.device
        self.loss = LOSSES[cell.loss]
        self.training_loss = partial(self.loss, **chosen_values(self.loss, cell))
        self.batches = Batches(data, cell.seed, cell.batch_size)
        self.schedule = schedules.factors(cell)
        self.model: Any = FAMILIES[cell.family](cell, data.x.shape[1], data.outputs)
        optimizer: type[Optimizer] = OPTIMIZERS[cell.optimizer]
        width_ratio, depth_ratio = shape_ratios(cell)
        self.scaling = scalings(
            cell.parameterization,
            optimizer.update,
            cell.rule,
            self.model.tensors,
            width_ratio=width_ratio,
            depth_ratio=depth_ratio,
            alpha=cell.branch_exponent,
            epsilon_rule=cell.epsilon_rule,
            decay_rule=cell.decay_rule,
        )
        self.multiplier = {name: s.multiplier for name, s in self.scaling.items()}
        epsilon = cell.epsilon or 0.0  # None where the optimizer has none
        self.weights = self.initial(self.members)
        hyper = {
            name: Hyper(
                lr=[2.0 ** cell.log2_lr[e] * s.lr for e in self.members],
                eps=[epsilon * s.eps] * len(self.members),
                weight_decay=[cell.weight_decay * s.weight_decay] * len(self.members),
            )
            for name, s in self.scaling.items()
        }
        self.optimizer = optimizer(self.weights, hyper, cell)
        self.evaluation_steps = {round(cell.steps * (i + 1) / cell.evaluations) for i in range(cell.evaluations)}
        self.step = 0
        self.window = torch.zeros(len(self.members), dtype=self.dtype, device=self.device)
        self.window_steps = 0
        self.records = Records()
        self.initial_loss = torch.zeros(0)
        self.alike: dict[str, Tensor] = {}  # losses of the start by split, shared with the cell's other stacks
        self.bind()

    def initial(self, members: list[int]) -> dict[str, Tensor]:
        """Initial weights {name: [E, ...]}: one set of draws per seed, scaled per tensor, the same for every member."""
        weights = {}
        for i, spec in enumerate(self.model.tensors):
            if spec.init == "normal":
                draws = np.random.default_rng([self.cell.seed, 0, i]).standard_normal(spec.shape)
                values = torch.from_numpy(draws) * self.scaling[spec.name].init_std
            else:
                values = torch.full(spec.shape, float(spec.init == "ones"), dtype=torch.float64)
            values = values.to(self.device, self.dtype)
            weights[spec.name] = values.expand(len(members), *spec.shape).clone()
        return weights

    def bind(self) -> None:
        """Rebuild what depends on the weights' storage: gradients, buffers, the optimizer's views."""
        self.gradients = {name: torch.empty_like(w) for name, w in self.weights.items()}
        self.optimizer.weights = self.weights
        if self.members:
            self.optimizer.bind()
        self.native = compiled.network(self)
        self.recorded: recorded.Recorded | None = None
        record, fused = recorded.recorder(self.device), self.optimizer.fused()
        if record is not None and fused is not None and self.members:
            self.recorded = recorded.Recorded(self, *fused, record)
        self.workspace = None
        if self.native is None and self.context.dtype != "bfloat16" and self.members:
            self.workspace = self.model.workspace(self.weights, self.multiplier, self.batches.batch_size)

    def stacked(self, x_BxI: Tensor) -> Tensor:
        return x_BxI.expand(len(self.members), *x_BxI.shape)

    @property
    def _several(self) -> "compiled.Network | recorded.Recorded | None":
        """What takes several steps in one call; None where each is one."""
        return self.native if self.native is not None and self.native.fused else self.recorded

    def compute_gradients(self, x_BxI: Tensor, y_B: Tensor) -> Tensor:
        """Fill `self.gradients`; return the loss of each member on the batch."""
        if self.native is not None:
            return self.native.gradients(self.gradients, x_BxI, y_B)
        x_ExBxI = self.stacked(x_BxI)
        if self.workspace is not None:
            return self.workspace.loss_gradients(
                self.weights, x_ExBxI, lambda f: self.training_loss(f, y_B), self.gradients
            )
        leaves = {name: w.detach().requires_grad_() for name, w in self.weights.items()}
        with torch.enable_grad(), autocast(self.device, self.context.dtype):
            f = self.model.output(leaves, self.multiplier, x_ExBxI)
        loss_E, df = self.training_loss(f.detach().to(self.dtype), y_B)
        for name, g in zip(leaves, torch.autograd.grad(f, list(leaves.values()), df.to(f.dtype)), strict=True):
            self.gradients[name].copy_(g)
        return loss_E

    def evaluate(self, split: tuple[Tensor, Tensor]) -> Tensor:
        """Mean loss of each member over a fixed subset, shape [E]; at step 0 all members are alike."""
        x, y = split
        count = len(self.members) if self.step else 1
        if self.native is not None:
            return self.native.evaluate(x, y, count).expand(len(self.members))
        weights = {name: w[:count] for name, w in self.weights.items()}
        total = torch.zeros(count, dtype=torch.float64)
        size = max(1, EVALUATION_SLICE // self.data.positions)
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            with autocast(self.device, self.context.dtype):
                f = self.model.output(weights, self.multiplier, x[part].expand(count, *x[part].shape))
            total += self.loss(f.to(self.dtype), y[part])[0].cpu().double() * len(x[part])
        return (total / len(x)).expand(len(self.members))

    def _losses(self, split: str) -> Tensor:
        """Of each member, [E]; all members of a cell start alike, so the start is evaluated once."""
        if self.step:
            return self.evaluate(getattr(self.data, split))
        if split not in self.alike:
            self.alike[split] = self.evaluate(getattr(self.data, split))[:1]
        return self.alike[split].expand(len(self.members))

    def record_curves(self) -> Tensor:
        """Evaluate both splits and write a row a member; return the training loss."""
        train, heldout = self._losses("train"), self._losses("heldout")
        for e, a, b in zip(self.members, train.tolist(), heldout.tolist(), strict=True):
            self.records.curves.append((e, self.step, a, b))
        return train

    def record_probes(self) -> None:
        """Take every probe of the cell on the first training examples."""
        if not self.cell.probes or not self.members:
            return
        x = self.stacked(self.data.x[: self.cell.probe_examples])
        w_0 = self.initial(self.members)
        snapshot = Snapshot(
            model=self.model,
            multiplier=self.multiplier,
            lr_factor={name: s.lr for name, s in self.scaling.items()},
            w_0=w_0,
            w_t=self.weights,
            sites_0=self.model.sites(w_0, self.multiplier, x),
            sites_t=self.model.sites(self.weights, self.multiplier, x),
            x_ExBxI=x,
            optimizer=self.optimizer,
            step=self.step,
            train=(self.data.x, self.data.y),
            heldout=self.data.heldout,
            loss=self.loss,
        )
        for name in self.cell.probes:
            for reading, layer, values in PROBES[name](snapshot):
                for e, value in zip(self.members, values.tolist(), strict=True):
                    self.records.probes.append((e, self.step, reading, layer, value))

    def retire(self, loss_E: Tensor) -> None:
        """Drop the members whose loss is not finite or above the threshold; note the step at which each was seen."""
        healthy = torch.isfinite(loss_E) & (loss_E <= self.cell.divergence_ratio * self.initial_loss)
        if bool(healthy.all()):
            return
        for e, ok in zip(self.members, healthy.tolist(), strict=True):
            if not ok:
                self.records.diverged[e] = self.step
        keep = healthy.nonzero().flatten()
        self.members = [self.members[i] for i in keep.tolist()]
        self.initial_loss, self.window = self.initial_loss[keep], self.window[keep.to(self.device)]
        keep = keep.to(self.device)
        self.weights = {name: w[keep] for name, w in self.weights.items()}
        self.optimizer.state = {name: s[keep] for name, s in self.optimizer.state.items()}
        for h in self.optimizer.hyper.values():
            for column in ("lr", "eps", "weight_decay"):
                setattr(h, column, [getattr(h, column)[i] for i in keep.tolist()])
        self.bind()

    def start(self) -> None:
        self.initial_loss = self.record_curves()
        self.record_probes()

    def next_due(self) -> int:
        """The next step after which something is due, a look at the loss included."""
        return min(
            self.cell.steps,
            self.step + CHECK_EVERY - self.window_steps,
            *(due for due in self.evaluation_steps.union(self.cell.probe_steps) if due > self.step),
        )

    def take_steps(self, count: int) -> Tensor:
        """That many optimizer steps, more than one only where they are compiled or recorded; the losses before each,
        [E, count]."""
        factors = self.schedule[self.step : self.step + count]
        if (several := self._several) is not None:
            return several.train(self.optimizer.updates(factors), *self.batches.block(self.step, count))
        loss_E = self.compute_gradients(*self.batches[self.step])
        if self.cell.clip is not None:
            clip_gradients(self.gradients, self.cell.clip)
        self.optimizer.step(self.gradients, factors[0])
        return loss_E.unsqueeze(1)

    def advance(self, most: int = 1) -> None:
        """One optimizer step, up to `most` where they come in one call and nothing is due between, and whatever is due
        then."""
        cell = self.cell
        count = min(most, self.next_due() - self.step) if self._several is not None else 1
        for loss_E in self.take_steps(count).unbind(1):
            self.window += loss_E
        self.step += count
        self.window_steps += count
        due = self.step in self.evaluation_steps
        if due or self.window_steps == CHECK_EVERY:
            self.retire((self.window / self.window_steps).cpu())
            self.window.zero_()
            self.window_steps = 0
        if due and self.members:
            self.retire(self.record_curves())
        if self.step in cell.probe_steps and self.members:
            self.record_probes()

    def state(self) -> dict[str, Any]:
        return {
            "members": self.members,
            "step": self.step,
            "window": self.window,
            "window_steps": self.window_steps,
            "initial_loss": self.initial_loss,
            "weights": self.weights,
            "optimizer": self.optimizer.state,
            "records": vars(self.records),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state: the numbers that follow equal those of an uninterrupted run bit for bit."""
        kept = [self.members.index(e) for e in state["members"]]
        for h in self.optimizer.hyper.values():
            for column in ("lr", "eps", "weight_decay"):
                setattr(h, column, [getattr(h, column)[i] for i in kept])
        self.members = state["members"]
        self.step = self.optimizer.step_count = state["step"]
        self.window, self.window_steps = state["window"].to(self.device), state["window_steps"]
        self.initial_loss = state["initial_loss"]
        self.weights = {name: w.to(self.device) for name, w in state["weights"].items()}
        self.optimizer.state = {name: s.to(self.device) for name, s in state["optimizer"].items()}
        self.records = Records(**state["records"])
        self.bind()


def stack_sizes(parameters: int, largest: int, members: int, device: torch.device) -> list[list[int]]:
    """Cut members into stacks of near-equal size: see `muster.training.stacks`."""
    count = -(-members // most_members(parameters, largest, device.type))
    return [part.tolist() for part in np.array_split(np.arange(members), count)]


@torch.no_grad()
def train_stack(
    cell: "TrainCell",
    members: list[int],
    data: Data,
    context: Context,
    owner: str,
    alike: dict[str, Tensor] | None = None,
) -> Records:
    """Train one stack from its checkpoint, or from the start, to the end.

    alike: the losses of the start, where another stack of the cell has measured them; else they are put there.
    """
    path: Path | None = None
    if context.checkpoint_dir is not None:
        path = context.checkpoint_dir / f"stack{members[0]}.pt"
    stack = Stack(cell, members, data, context)
    stack.alike = stack.alike if alike is None else alike
    saved = checkpoint.load(path, owner) if path else None
    if saved is not None and "finished" in saved:
        return Records(**saved["finished"])
    if saved is None:
        stack.start()
    else:
        stack.restore(saved)
        context.progress(f"members {members[0]}–{members[-1]}: resumed at step {stack.step} of {cell.steps}")
    stack.records.path = "native" if stack.native else "workspace" if stack.workspace else "autograd"
    begun, elapsed = time.monotonic(), stack.records.seconds
    last_saved = begun
    while stack.step < cell.steps and stack.members:
        stack.advance(CHECK_EVERY)
        now = time.monotonic()
        stack.records.seconds = elapsed + now - begun
        if path and now - last_saved > CHECKPOINT_SECONDS:
            checkpoint.save(path, owner, stack.state())
            last_saved = now
            context.progress(
                f"members {members[0]}–{members[-1]}: step {stack.step} of {cell.steps}, {now - begun:.0f} s"
            )
    if path:
        checkpoint.save(path, owner, {"finished": vars(stack.records)})
    return stack.records


def train(cell: "TrainCell", context: Context) -> Outcome:
    """Train every member of a cell; tables as in `muster.experiments.Outcome`.

    Raises MusterError when the data set is missing or holds non-finite numbers.
    """
    if context.data_dir is None:
        raise MusterError("train", "no data set folder was given", "Pass --data, or run through Snakemake")
    device = resolve(context.device)
    data = Data.of(load_dataset(context.data_dir), cell, device, DTYPES[context.dtype])
    sizes = [math.prod(spec.shape) for spec in FAMILIES[cell.family](cell, data.x.shape[1], data.outputs).tensors]
    parameters = sum(sizes)
    stacks = stack_sizes(parameters, max(sizes), len(cell.log2_lr), device)
    identity = f"{cell.model_dump_json()} {context.dtype} {context.fingerprint}"
    owner = hashlib.sha256(identity.encode()).hexdigest()
    context.progress(
        f"width {cell.width}, depth {cell.depth}, {cell.parameterization}, {cell.optimizer}, seed {cell.seed}: "
        f"{len(cell.log2_lr)} members in {len(stacks)} stacks, {parameters:,} parameters, {cell.steps} steps, {device}"
    )
    alike: dict[str, Tensor] = {}
    records = [train_stack(cell, members, data, context, owner, alike) for members in stacks]
    return tables(cell, records, parameters, data.positions)


def tables(cell: "TrainCell", records: list[Records], parameters: int, positions: int = 1) -> Outcome:
    """Turn the stacks' rows into the three tables, keyed by log2_lr; FLOPs are 6 a parameter, output and step."""
    lr = cell.log2_lr
    curves = pd.DataFrame(
        [(lr[e], *row) for r in records for e, *row in r.curves], columns=["log2_lr", "step", "train_loss", "eval_loss"]
    )
    probes = pd.DataFrame(
        [(lr[e], *row, float("nan")) for r in records for e, *row in r.probes],
        columns=["log2_lr", "step", "probe", "layer", "value", "se"],
    )
    diverged = {lr[e]: step for r in records for e, step in r.diverged.items()}
    last = {row[0]: row[2:] for row in curves.sort_values("step").itertuples(index=False)}
    nan = float("nan")
    batch = min(cell.batch_size, cell.examples or cell.batch_size)
    runs = pd.DataFrame(
        [
            {
                "log2_lr": rate,
                "diverged": rate in diverged,
                "final_train_loss": nan if rate in diverged else last[rate][0],
                "final_eval_loss": nan if rate in diverged else last[rate][1],
                "steps": diverged.get(rate, cell.steps),
                "parameters": parameters,
                "flops": 6.0 * parameters * batch * positions * diverged.get(rate, cell.steps),
                "seconds": nan,
            }
            for rate in lr
        ]
    )
    notes = {
        "training_seconds": round(sum(r.seconds for r in records), 3),  # with those of interrupted attempts
        "engine": ", ".join(sorted({r.path for r in records})),
    }
    return Outcome(runs, curves, probes, notes)
