"""Compute-optimal sizes when embeddings are not counted: a simulation of the artefact behind Kaplan's exponent 0.73.

The loss follows L = E + A/N^α + B/D^β in *total* parameters N and tokens D (Hoffmann et al. 2022). A transformer of
aspect ratio r = width/layers with n = 12 width³/r parameters outside its embeddings has v·width in them, so that
N = n + ω n^(1/3) with ω = v (r/12)^(1/3) (Pearce & Song 2024, Section 3; v = 32000, r = 39.2 give their ω ≈ 47 000).

Kaplan et al. 2020 counted n, and compute as c = 6 n D. The minimum of L over n at fixed c satisfies
    c^β = (β B 6^β / (α A)) · n^(β−1) N^(α+1) / N'(n),
from ∂L/∂n = −α A N^(−α−1) N' + β B (6/c)^β n^(β−1) = 0. With u = ω n^(−2/3), hence n N'/N = (1 + u/3)/(1 + u) and
n N''/N' = −(2u/9)/(1 + u/3), the local exponent d ln n*/d ln c is
    β / (β − 1 + (α + 1)(1 + u/3)/(1 + u) + (2u/9)/(1 + u/3)),
which tends to β/(α + β) for large models and to β/(α/3 + β) for small ones (the same limits in Pearce & Song). Counted
in full, the exponent is β/(α + β) at every size.

A cell draws the runs of isoFLOP curves in one way of counting: at each compute budget, models at fixed ratios to the
optimum, each with an aspect ratio of its own and a noisy loss.
"""

import math
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from muster.experiments import EXPERIMENTS, Context, Cost, Example, Experiment, Job, Outcome
from muster.sampling.tables import RUN_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


class Constants(NamedTuple):
    """L = e + a/N^alpha + b/D^beta."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float

    @property
    def exponent(self) -> float:
        """d ln N*/d ln C when all parameters are counted."""
        return self.beta / (self.alpha + self.beta)


CONSTANTS = {
    "hoffmann": Constants(1.6934, 406.4, 410.7, 0.33917, 0.28491),  # Hoffmann et al. 2022, Equation 10
    "besiroglu": Constants(1.8172, 482.01, 2085.43, 0.34781, 0.36585),  # Besiroglu et al. 2024, Equation 10
}
# Parameters outside the embeddings of the smallest and largest optimum.
SIZES = {"kaplan": (768.0, 1.5e9), "frontier": (1e10, 1e12)}  # kaplan: Kaplan et al. 2020, Section 1.3
REFERENCE_ASPECT = 39.2  # Pearce & Song 2024; shapes are drawn around it


class KaplanCountingCell(Job):
    """IsoFLOP curves of one law, one range of sizes and one way of counting."""

    key_axes: ClassVar[tuple[str, ...]] = ("law", "counting", "regime", "seed")

    law: Literal["hoffmann", "besiroglu"] = Field("besiroglu", description="Whose constants the loss follows")
    counting: Literal["non_embedding", "total"] = Field(description="Parameters that count as size and in compute")
    regime: Literal["kaplan", "frontier"] = Field(description="Sizes: 768 to 1.5e9, or 1e10 to 1e12")
    seed: int = Field(ge=0, description="Replicate: shapes and noise")
    vocabulary: int = Field(32_000, ge=1, description="Rows of the embeddings, positions included")
    aspect_spread: float = Field(1.2, ge=1, le=10, description="Aspect ratios lie within this factor of 39.2")
    budgets: int = Field(24, ge=3, le=1000, description="Compute budgets, evenly spaced in ln compute")
    sizes: int = Field(9, ge=5, le=101, description="Models per budget, in half octaves around the optimum")
    noise: float = Field(0.002, ge=0, le=1, description="Standard deviation of ln loss between seeds")

    @property
    def label(self) -> str:
        return f"{self.law}-{self.counting}-{self.regime}-s{self.seed}"


def embedding_constant(vocabulary: int, aspect: Array | float) -> Array | float:
    """ω of N = n + ω n^(1/3)."""
    return vocabulary * (np.asarray(aspect) / 12) ** (1 / 3)


def total_parameters(n: Array, omega: Array | float) -> Array:
    """N of n parameters outside the embeddings."""
    return n + omega * np.cbrt(n)


def outside_embeddings(total: Array, omega: Array) -> Array:
    """The inverse of `total_parameters`: x = n^(1/3) solves x³ + ω x = N, by Cardano's formula in stable form."""
    root = np.sqrt(total**2 / 4 + omega**3 / 27)
    upper = np.cbrt(total / 2 + root)
    return (upper - omega / 3 / upper) ** 3


def log_compute(n: Array, law: Constants, omega: float) -> Array:
    """ln c at which n is optimal, c = 6 n D (module docstring)."""
    slope = 1 + omega / 3 * n ** (-2 / 3)
    constant = math.log(law.beta * law.b / (law.alpha * law.a)) + law.beta * math.log(6)
    powers = (law.beta - 1) * np.log(n) + (law.alpha + 1) * np.log(total_parameters(n, omega)) - np.log(slope)
    return (constant + powers) / law.beta


def local_exponent(n: Array, law: Constants, omega: float) -> Array:
    """d ln n*/d ln c at n (module docstring)."""
    u = omega * n ** (-2 / 3)
    counted = (law.alpha + 1) * (1 + u / 3) / (1 + u) + (2 * u / 9) / (1 + u / 3)
    return law.beta / (law.beta - 1 + counted)


def optimal_sizes(cell: KaplanCountingCell) -> tuple[Array, Array]:
    """Budgets and the optimal size at each, both [budgets], in the cell's way of counting, from the closed forms."""
    law, omega = CONSTANTS[cell.law], float(embedding_constant(cell.vocabulary, REFERENCE_ASPECT))
    ends = np.array(SIZES[cell.regime])
    if cell.counting == "total":
        first, last = total_parameters(ends, omega)
        size = np.geomspace(first, last, cell.budgets)
        # N* = G (C/6)^(β/(α+β)) with G = (α A / (β B))^(1/(α+β)): Hoffmann et al. 2022, Equation 4.
        scale = (law.alpha * law.a / (law.beta * law.b)) ** (1 / (law.alpha + law.beta))
        return 6 * (size / scale) ** (1 / law.exponent), size
    low, high = log_compute(ends, law, omega)
    fine = np.geomspace(ends[0], ends[1], 20_000)
    log_budget = np.linspace(low, high, cell.budgets)
    return np.exp(log_budget), np.exp(np.interp(log_budget, log_compute(fine, law, omega), np.log(fine)))


def draw_runs(cell: KaplanCountingCell, rng: np.random.Generator) -> "pd.DataFrame":
    """One row a model: size and compute as counted, parameters in both ways, tokens, FLOPs in full, loss."""
    import pandas as pd

    law = CONSTANTS[cell.law]
    compute, optimum = (np.repeat(values, cell.sizes) for values in optimal_sizes(cell))
    steps = np.tile(np.arange(cell.sizes) - cell.sizes // 2, cell.budgets)
    size = optimum * 2.0 ** (steps / 2)
    spread = math.log(cell.aspect_spread)
    aspect = REFERENCE_ASPECT * np.exp(rng.uniform(-spread, spread, len(size)))
    omega = np.asarray(embedding_constant(cell.vocabulary, aspect))
    tokens = compute / (6 * size)
    outside = size if cell.counting == "non_embedding" else outside_embeddings(size, omega)
    total = total_parameters(outside, omega) if cell.counting == "non_embedding" else size
    loss = law.e + law.a / total**law.alpha + law.b / tokens**law.beta
    return pd.DataFrame(
        {
            "run": [f"b{i // cell.sizes:03d}-m{i % cell.sizes:03d}" for i in range(len(size))],
            "size": size,
            "compute": compute,
            "aspect": aspect,
            "parameters": total.round(),
            "parameters_no_embedding": outside,
            "tokens": tokens,
            "flops": 6 * total * tokens,
            "final_eval_loss": loss * np.exp(cell.noise * rng.standard_normal(len(size))),
        }
    )


BROUGHT = (
    "size", "compute", "aspect", "parameters", "parameters_no_embedding", "tokens", "flops", "final_eval_loss",
)  # fmt: skip


def cost(cell: KaplanCountingCell) -> Cost:
    """A few operations a model."""
    models = cell.budgets * cell.sizes
    return Cost(100.0 * models, 0.05 + 1e-6 * models, 2e8)


def run(cell: KaplanCountingCell, context: Context) -> Outcome:
    """Draw the runs; the probe `closed_form_exponent` (layer: budget from 1) is the local exponent at each optimum."""
    import pandas as pd

    code = [list(CONSTANTS).index(cell.law), ("non_embedding", "total").index(cell.counting)]
    rng = np.random.default_rng([cell.seed, *code, list(SIZES).index(cell.regime)])
    runs = draw_runs(cell, rng)
    unknown = {"diverged": False, "final_train_loss": math.nan, "steps": 0, "seconds": math.nan}
    law, optimum = CONSTANTS[cell.law], optimal_sizes(cell)[1]
    exponent = np.full(cell.budgets, law.exponent)
    if cell.counting == "non_embedding":
        exponent = local_exponent(optimum, law, float(embedding_constant(cell.vocabulary, REFERENCE_ASPECT)))
    probes = pd.DataFrame(
        {
            "run": [f"b{i:03d}-m{cell.sizes // 2:03d}" for i in range(cell.budgets)],
            "step": 0,
            "probe": "closed_form_exponent",
            "layer": np.arange(1, cell.budgets + 1),
            "value": exponent,
            "se": 0.0,
        }
    )
    curves = pd.DataFrame({"run": [], "step": [], "train_loss": [], "eval_loss": []})
    return Outcome(runs.assign(**{name: unknown[name] for name in RUN_COLUMNS if name in unknown}), curves, probes)


EXPERIMENTS.register("kaplan_counting")(
    Experiment(
        summary="IsoFLOP curves of a Chinchilla-type law, counted with and without embeddings",
        stage="sample",
        cell=KaplanCountingCell,
        cost=cost,
        run=run,
        run_keys=("run",),
        brings=lambda cell: BROUGHT,
        example=Example(
            {"law": "besiroglu", "regime": "kaplan", "budgets": 24, "noise": 0.002},
            [{"counting": ["non_embedding", "total"], "seeds": 4}],
            {
                "estimator": "isoflop",
                "table": "runs",
                "response": "final_eval_loss",
                "along": "compute",
                "by": ["counting"],
                "options": {"size": "size", "window": 9},
            },
            smoke={"budgets": 6},
            where={"counting": "total"},
            figure={"plot": "optima_law"},
            predicted=0.5,
        ),
    )
)
