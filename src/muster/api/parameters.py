"""A parameterization applied to somebody's own network: roles read off its shapes, and groups for `torch.optim`.

A tensor's role follows from which of its dimensions grow between two widths, as in the package `mup`. The network needs
no multipliers: W = m·w with rate η for w is W itself with m times the standard deviation and m^(1+p−q) times the rate,
where a step is ∝ |gradient|^p·|w|^q (the abc-symmetry of Yang & Hu 2021, Tensor Programs IV, eq. 5), with ε/m for Adam.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import nn

from muster.errors import MusterError
from muster.optimizers import OPTIMIZERS
from muster.parameterizations import PARAMETERIZATIONS, Tensor, scalings, usual_rule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Build = Callable[[int], nn.Module]

# Modules whose weight is [out, in, …]; other tensors with one growing dimension are rows that are looked up or added.
_MATRICES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.RNNBase)


@dataclass(frozen=True)
class ParameterTable:
    """What a parameterization asks of each tensor of one network. table: a row a tensor, with columns tensor, role,
    shape, init_std, init_factor (by which its own initial values are multiplied), learning_rate, epsilon, weight_decay.
    notes: of tensors that stand in two places.
    """

    parameterization: str
    width: int
    base_width: int
    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """The table as aligned text."""
        head = f"{self.parameterization}: width {self.width} over base {self.base_width}; rates for W itself"
        table = self.table.to_string(index=False, float_format=lambda value: f"{value:.4g}")
        return "\n".join([head, table, *self.notes])

    def plot(self) -> "Figure":
        """Rates and initial standard deviations of all tensors, as bars."""
        from matplotlib.figure import Figure

        from muster.plots.style import paper

        with paper():
            fig = Figure(figsize=(7, 0.8 + 0.25 * len(self.table)), layout="constrained")
            for ax, column in zip(fig.subplots(1, 2, sharey=True), ("learning_rate", "init_std"), strict=True):
                ax.barh(self.table["tensor"], self.table[column])
                ax.set_xscale("log")
                ax.set_xlabel(column.replace("_", " "))
        return fig


def find_roles(build: Build, width: int, base_width: int) -> dict[str, Tensor]:
    """The tensors of `build(width)` by name, with roles from a comparison with the base width and gains from the
    standard deviations that the base network starts with.

    Where both widths are equal the comparison is with twice the width. Raises MusterError for networks that differ in
    more than sizes, or in none.
    """
    base, model = _built(build, base_width), _built(build, width)
    other = base if width != base_width else _built(build, 2 * width)
    shapes = {name: tuple(value.shape) for name, value in other.named_parameters()}
    own = {name: tuple(value.shape) for name, value in model.named_parameters()}
    if set(shapes) != set(own) or any(len(shapes[name]) != len(own[name]) for name in own):
        odd = sorted(set(shapes) ^ set(own)) or [name for name in own if len(shapes[name]) != len(own[name])]
        remedy = "build(width) must give the same network at every width, with other sizes"
        raise MusterError("build", f"tensor {odd[0]!r} is not the same at widths {width} and {base_width}", remedy)
    if own == shapes:
        remedy = "build must use its argument as the width"
        raise MusterError("build", f"no tensor of width {width} differs from one of width {base_width}", remedy)
    owners = _owners(model)
    starts = dict(base.named_parameters())
    return {name: _tensor(name, own[name], shapes[name], owners[name], starts[name].detach()) for name in own}


def _built(build: Build, width: int) -> nn.Module:
    """The same network at every call, and no step of the caller's generator."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(width)
    if not isinstance(model, nn.Module):
        raise MusterError("build", f"build({width}) gave {type(model).__name__}", "It must return a torch.nn.Module")
    return model


def _tied(model: nn.Module, tensors: dict[str, Tensor]) -> tuple[str, ...]:
    """A sentence for each tensor that has two places: it can have one role only."""
    names = {id(value): name for name, value in model.named_parameters()}
    twice = [(names[id(value)], name) for name, value in model.named_parameters(remove_duplicate=False)]
    return tuple(
        f"{first} is also {name}: it is treated as {tensors[first].role}, and what the other place asks for must be a "
        "multiplier in forward (of a readout under µP: base_width/width)"
        for first, name in twice
        if first != name
    )


def _owners(model: nn.Module) -> dict[str, nn.Module]:
    return {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }


def _tensor(name: str, shape: tuple[int, ...], other: tuple[int, ...], owner: nn.Module, start: torch.Tensor) -> Tensor:
    grows = [here != there for here, there in zip(shape, other, strict=True)]
    init = "zeros" if not start.any() else "ones" if bool((start == 1).all()) else "normal"
    spread = float(start.double().square().mean().sqrt())
    if len(shape) < 2:
        role = "vector" if any(grows) else "fixed"
        return Tensor(name, role, shape or (1,), init, _gain(init, spread, 1))
    if isinstance(owner, _MATRICES):
        role = {(True, True): "hidden", (True, False): "input", (False, True): "readout"}.get(
            (grows[0], any(grows[1:])), "fixed"
        )
        swapped = (*shape[1:], shape[0])
    else:
        role = "hidden" if sum(grows) > 1 else "embedding" if any(grows) else "fixed"
        swapped = shape
        if role == "embedding" and not grows[-1]:
            raise MusterError(f"tensor {name}", f"shape {shape} grows in a dimension that is not its last",
                              "Make it the weight of a module of torch.nn, whose layout is known")  # fmt: skip
    # Relative to its own start: the fan-in of the base network.
    fan_in = (
        1 if role == "embedding" else math.prod(start.shape[1:] if isinstance(owner, _MATRICES) else start.shape[:-1])
    )
    return Tensor(name, role, swapped, init, _gain(init, spread, fan_in))


def _gain(init: str, spread: float, fan_in: int) -> float:
    return spread * math.sqrt(fan_in) if init == "normal" else 1.0


def show_parameterization(
    parameterization: str,
    build: Build,
    width: int,
    base_width: int,
    *,
    optimizer: str = "adamw",
    rule: str | None = None,
    lr: float = 1.0,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    **rules: Any,
) -> ParameterTable:
    """What each tensor of `build(width)` gets, relative to `build(base_width)`, where everything stays as it is.

    optimizer: of `muster list optimizers`, for how its steps scale. rule: of `muster list rules`, the usual one if
    None. lr, eps, weight_decay: at the base width. rules: epsilon_rule, decay_rule. Raises MusterError for unknown
    names, and for unit scaling, which changes the forward pass.
    """
    if PARAMETERIZATIONS[parameterization].unit:
        found = f"{parameterization} scales activations inside the network, not its tensors alone"
        raise MusterError("parameterization", found, "Choose mup, mup_table3, mup_table8, sp, ntp or mfp")
    update = OPTIMIZERS[optimizer].update
    rule = usual_rule(update) if rule is None else rule
    tensors = find_roles(build, width, base_width)
    ratio = width / base_width
    rows = []
    applied = scalings(parameterization, update, rule, list(tensors.values()), width_ratio=ratio, **rules)
    model = _built(build, width)
    starts = {name: float(value.detach().double().square().mean().sqrt()) for name, value in model.named_parameters()}
    for name, tensor in tensors.items():
        scaling = applied[name]
        m = scaling.multiplier
        moved = m ** (1 + update.gradient - update.weight)
        std = m * scaling.init_std
        rows.append(
            {"tensor": name, "role": tensor.role, "shape": "×".join(map(str, tensor.shape)), "init_std": std,
             "init_factor": std / starts[name] if tensor.init == "normal" and starts[name] else 1.0,
             "learning_rate": lr * scaling.lr * moved, "epsilon": eps * scaling.eps / m,
             "weight_decay": weight_decay * scaling.weight_decay / moved}
        )  # fmt: skip
    return ParameterTable(parameterization, width, base_width, pd.DataFrame(rows), _tied(model, tensors))


def parameter_groups(
    parameterization: str,
    model: nn.Module,
    build: Build,
    width: int,
    base_width: int,
    *,
    rescale: bool = True,
    optimizer: str = "adamw",
    **options: Any,
) -> list[dict[str, Any]]:
    """Groups for an optimizer of `torch.optim`: `AdamW(parameter_groups("mup", model, build, 1024, 64, lr=1e-3))`.

    model: `build(width)`; with `rescale` its initial values are multiplied, in place, by what the parameterization asks
    for. Keys of a group: params, names, lr, weight_decay and, of optimizers that have it, eps. Other arguments as in
    `show_parameterization`.
    """
    table = show_parameterization(parameterization, build, width, base_width, optimizer=optimizer, **options).table
    named = dict(model.named_parameters())
    if set(named) != set(table["tensor"]):
        raise MusterError("model", "its tensors are not those of build(width)", "Give model = build(width)")
    groups: dict[tuple[float, ...], dict[str, Any]] = {}
    adaptive = "epsilon" in OPTIMIZERS[optimizer].settings.model_fields
    for row in table.to_dict("records"):
        weight = named[row["tensor"]]
        if rescale and row["init_factor"] != 1.0:
            with torch.no_grad():
                weight.mul_(row["init_factor"])
        key = (row["learning_rate"], row["epsilon"] if adaptive else 0.0, row["weight_decay"])
        group = groups.setdefault(key, {"params": [], "names": [], "lr": key[0], "weight_decay": key[2]})
        if adaptive:
            group["eps"] = key[1]
        group["params"].append(weight)
        group["names"].append(row["tensor"])
    return list(groups.values())


def load_build(place: str) -> Build:
    """The function of `module.py:build`. Raises MusterError where there is none, or where the file or it fails."""
    file, _, name = place.rpartition(":")
    path = Path(file)
    if not file or not name or not path.is_file():
        raise MusterError("--shapes", f"found {place!r}", "Write FILE.py:FUNCTION, a function from width to network")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise MusterError("--shapes", f"{path} is no Python file", "Write FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody's file does
        raise _failed(str(path), error) from error
    build = getattr(module, name, None)
    if not callable(build):
        known = ", ".join(_functions(module)) or "none"
        raise MusterError("--shapes", f"{path} has no function {name!r}", f"Functions: {known}")

    def build_or_say(width: int) -> nn.Module:
        try:
            return build(width)  # type: ignore[no-any-return]
        except Exception as error:  # as above
            raise _failed(f"{name}({width})", error) from error

    return build_or_say


def _failed(what: str, error: Exception) -> MusterError:
    found = f"{what} raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return MusterError("--shapes", found, "It must give a network from one argument, the width")


def _functions(module: Any) -> Iterator[str]:
    return (name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
