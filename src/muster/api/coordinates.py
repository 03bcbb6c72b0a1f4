"""Coordinate check of somebody's own networks: do activations and their changes keep their size as width grows?

What `mup.coord_check` shows by eye, as slopes with intervals and a verdict (Yang, Hu et al. 2022, Tensor Programs V,
Appendix D.1): under µP every hidden layer's coordinates and their changes are Θ(1) in width; outputs start at Θ(1) or
below and change by Θ(1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from muster.claims.tests import ALPHA, p_refute, p_support
from muster.errors import MusterError
from muster.statistics.linear import slope_ols

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = tuple[Any, Any]
STATISTICS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rms": lambda values: values.double().square().mean().sqrt(),
    "mean_abs": lambda values: values.double().abs().mean(),
}


@dataclass(frozen=True)
class CoordinateCheck:
    """table: a row a width, seed, layer and step, with `activation` (size of the layer's output) and `change` (size of
    its difference from the start). slopes: a row a layer, step and quantity: d ln / d ln width with its 95 % interval,
    the region that µP asserts, and a verdict. verdict: of all layers at the start and at the last step.
    """

    table: pd.DataFrame
    slopes: pd.DataFrame
    margin: float
    verdict: str
    reason: str

    def summary(self) -> str:
        """Verdict and slopes of what decides it."""
        rows = self.slopes[self.slopes["decides"]].drop(columns=["decides", "p_support", "p_refute"])
        text = rows.to_string(index=False, float_format=lambda value: f"{value:.3g}")
        return f"{self.verdict}: {self.reason}\n{text}"

    def plot(self) -> "Figure":
        """Sizes against width, a line a layer; one panel for activations at the start, one a step for changes."""
        from matplotlib.figure import Figure

        from muster.plots.style import paper

        steps = sorted(self.table["step"].unique())
        panels = [("activation", steps[0]), *(("change", step) for step in steps[1:])]
        with paper():
            fig = Figure(figsize=(2.4 * len(panels) + 1.5, 2.8), layout="constrained")
            axes = np.atleast_1d(fig.subplots(1, len(panels)))
            for ax, (quantity, step) in zip(axes, panels, strict=True):
                rows = self.table[self.table["step"] == step]
                for layer, own in rows.groupby("layer", sort=False):
                    means = own.groupby("width")[quantity].mean()
                    ax.plot(means.index, means.where(means > 0), marker="o", label=str(layer))
                ax.set(xscale="log", yscale="log", xlabel="width", title=f"{quantity}, step {step}")
            axes[-1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
        return fig


def coordinate_check(
    build: Callable[[int], nn.Module],
    widths: Sequence[int],
    batch: Batch | Callable[[int], Batch],
    optimizer: Callable[[nn.Module, int], torch.optim.Optimizer],
    *,
    loss: Callable[[Any, Any], torch.Tensor] | None = None,
    steps: int = 3,
    seeds: int = 3,
    margin: float = 0.1,
    statistic: Literal["rms", "mean_abs"] = "rms",
) -> CoordinateCheck:
    """Train `build(width)` for a few steps at every width and hold the layers' slopes against µP's exponents.

    build: width → a new network, drawn from torch's global generator, which is seeded here. batch: (inputs, targets),
    or a function of the step that gives them; sizes are measured on that of step 0. optimizer: (network, width) → an
    optimizer. loss: (output, targets) → a number; cross-entropy of whole-number targets, else squared error. margin:
    |slope| that still counts as Θ(1). Raises MusterError for fewer than three widths, and where a network gives
    different layers at different widths.
    """
    widths = sorted(set(widths))
    if len(widths) < 3:
        raise MusterError("widths", f"found {len(widths)}", "A slope with an interval needs three, better five")
    if statistic not in STATISTICS:
        raise MusterError("statistic", f"found {statistic!r}", f"Known: {', '.join(STATISTICS)}")
    rows: list[dict[str, Any]] = []
    sizes: dict[str, set[int]] = {}
    for seed in range(seeds):
        for width in widths:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = build(width)
                rows += _trajectory(model, optimizer(model, width), batch, loss or _loss, steps, STATISTICS[statistic],
                                    {"width": width, "seed": seed}, sizes)  # fmt: skip
    table = pd.DataFrame(rows)
    slopes = _slopes(table, margin, outputs={layer for layer, found in sizes.items() if len(found) == 1})
    verdict, reason = _verdict(slopes, table, margin)
    return CoordinateCheck(table, slopes, margin, verdict, reason)


def _loss(output: Any, target: torch.Tensor) -> torch.Tensor:
    if target.is_floating_point():
        return nn.functional.mse_loss(output, target)
    return nn.functional.cross_entropy(output.flatten(0, -2), target.flatten())


def _trajectory(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch | Callable[[int], Batch],
    loss: Callable[[Any, Any], torch.Tensor],
    steps: int,
    size: Callable[[torch.Tensor], torch.Tensor],
    head: dict[str, Any],
    sizes: dict[str, set[int]],
) -> list[dict[str, Any]]:
    """Rows of one network. Its mode stays as `build` left it while it trains; sizes are taken with dropout off."""
    first, rows = None, []
    give = batch if callable(batch) else lambda step: batch
    for step in range(steps + 1):
        found = _outputs(model, give(0)[0])
        first = first or found
        for layer, output in found.items():
            sizes.setdefault(layer, set()).add(output.shape[-1])
            rows.append({**head, "layer": layer, "step": step, "activation": float(size(output)),
                         "change": float(size(output - first[layer]))})  # fmt: skip
        if step < steps:
            inputs, targets = give(step)
            optimizer.zero_grad()
            loss(model(inputs), targets).backward()
            optimizer.step()
    return rows


def _outputs(model: nn.Module, inputs: Any) -> dict[str, torch.Tensor]:
    """Outputs of all modules without submodules, in the order of their calls, and of the network itself."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, torch.Tensor) and output.is_floating_point() and output.ndim:
                calls = sum(key == name or key.startswith(f"{name} call ") for key in found)
                found[f"{name} call {calls + 1}" if calls else name] = output.detach().clone()

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(keep(name or "output")) for name, module in leaves]
    training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(inputs)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found


def _slopes(table: pd.DataFrame, margin: float, outputs: set[str]) -> pd.DataFrame:
    """Slopes of ln size, means over seeds, on ln width; what is exactly 0, such as a readout's start, has none."""
    widths, last = table["width"].nunique(), table["step"].max()
    rows = []
    for (layer, step), own in table.groupby(["layer", "step"], sort=False):
        for quantity in ("activation", "change"):
            if quantity == "change" and step == 0:
                continue
            means = own.groupby("width")[quantity].mean()
            if not (np.isfinite(means) & (means > 0)).all() or len(means) < widths:
                continue
            slope = slope_ols(np.log(means.index.to_numpy(float)), np.log(means.to_numpy(float)))
            low, high = slope.interval()
            start = quantity == "activation" and step == 0
            # Outputs may start at any size that does not grow: n^-1/2 in µP, 0 with a readout of zeros.
            claim = {"test": "less" if start and layer in outputs else "equivalence", "predicted": 0.0,
                     "margin": margin, "estimate": slope.estimate, "se": slope.se, "dof": slope.dof}  # fmt: skip
            decides = (start or (quantity == "change" and step == last)) and bool(own["change"].any() or start)
            rows.append({"layer": layer, "quantity": quantity, "step": step, "slope": slope.estimate, "ci_low": low,
                         "ci_high": high, "expected": f"≤ {margin:g}" if claim["test"] == "less" else f"0 ± {margin:g}",
                         "p_support": p_support(claim), "p_refute": p_refute(claim), "decides": decides})  # fmt: skip
    slopes = pd.DataFrame(rows)
    if slopes.empty:
        raise MusterError("build", "no layer has a finite size at every width", "Lower the learning rate")
    slopes["verdict"] = np.select(
        [slopes["p_support"] <= ALPHA, slopes["p_refute"] <= ALPHA], ["supported", "refuted"], "inconclusive"
    )
    return slopes


def _verdict(slopes: pd.DataFrame, table: pd.DataFrame, margin: float) -> tuple[str, str]:
    """All layers together: supported if every one is (intersection–union test, Berger 1982), refuted if one is at the
    level divided by their number (Bonferroni)."""
    if not np.isfinite(table[["activation", "change"]]).all(axis=None):
        worst = table[~np.isfinite(table["activation"])].iloc[0]
        return "refuted", f"width {worst['width']} diverged in step {worst['step']}: lower the learning rate"
    rows = slopes[slopes["decides"]]
    worst = rows.sort_values("p_refute").iloc[0]
    name = f"{worst['quantity']} of {worst['layer']} at step {worst['step']}"
    shown = f"{name} goes as width^{worst['slope']:.3g} [{worst['ci_low']:.3g}, {worst['ci_high']:.3g}]"
    if rows["p_refute"].min() <= ALPHA / len(rows):
        return "refuted", shown
    if rows["p_support"].max() <= ALPHA:
        return "supported", f"all {len(rows)} slopes lie within what µP asserts, ± {margin:g}"
    open_ = rows.sort_values("p_support").iloc[-1]
    return "inconclusive", (
        f"{(rows['p_support'] > ALPHA).sum()} of {len(rows)} slopes are open, most of all {open_['quantity']} of "
        f"{open_['layer']} [{open_['ci_low']:.3g}, {open_['ci_high']:.3g}]: more widths, or more seeds"
    )
