"""Probe of the curvature that mini-batches see: the largest Hessian eigenvalue of a batch against that of all data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from muster.training.probes import PROBES, ProbeCost, Reading
from muster.training.probes.base import probe

if TYPE_CHECKING:
    from muster.training.snapshot import Snapshot

BATCHES = 8  # drawn for every batch size
SINGLES = 256  # single examples behind the noise of the Hessian
SMALLEST = 4  # batch size
LANCZOS = 14, 10  # products until the eigenvalue of all data, of a batch: counted on digits at widths 32 and 96


def cost(examples: int) -> ProbeCost:
    """Two gradients a product: Lanczos' on the whole training set and on each batch of every size, one a single."""
    sizes = (examples // (4 * SMALLEST)).bit_length()  # SMALLEST, doubled up to a quarter of the set
    whole, batch = LANCZOS
    products = whole + SINGLES + BATCHES * batch * sizes
    drawn = whole * examples + SINGLES + BATCHES * batch * SMALLEST * (2**sizes - 1)
    return ProbeCost(2.0 * products, 2.0 * drawn)


@PROBES.register("batch_hessian")
@probe("one output an example", cost=cost)
def batch_hessian(s: "Snapshot") -> Iterator[Reading]:
    """Largest Hessian eigenvalue of batches of B examples (`layer` = B) and what theory adds to that of all data.

    `hessian_top` (layer 0): λ of the whole training set, with unit eigenvector v. For B = 4, 8, … up to a quarter of
    it, batches drawn with replacement: `batch_hessian_excess`, the mean of λ' − vᵀH_B v over batches, which is that of
    λ' − λ without the first-order noise, a control variate of mean zero; and `batch_hessian_theory`, pσ²/(Bλ) with pσ²
    = E‖P(h − H)v‖², h the Hessian of a single example and P the projector across v. That is second-order perturbation
    theory for an eigenvalue far above all others, and the spiked model of Granziol, Zohren & Roberts (2020).
    """
    import torch

    from muster.training.curvature import Product, flatten, hessian_product, largest_eigenvalue

    if s.step == 0:
        return
    weights = {name: w.double() for name, w in s.w_t.items()}
    x, y = s.train[0].double(), s.train[1]
    generator = torch.Generator().manual_seed(s.step)
    start = torch.randn(flatten(weights).shape[1], generator=generator, dtype=torch.float64)

    def draw(size: int) -> Product:
        rows = torch.randint(len(x), (size,), generator=generator).to(x.device)
        return hessian_product(s, weights, x[rows], y[rows])

    full = hessian_product(s, weights, x, y)
    top, v = largest_eigenvalue(full, start.to(x.device).expand(len(s.sites_t[0].h_ExBxI), -1))
    yield "hessian_top", 0, top
    mean = full(v)
    noise = torch.zeros_like(top)
    for _ in range(SINGLES):
        difference = draw(1)(v) - mean
        difference -= (difference * v).sum(1, keepdim=True) * v
        noise += difference.square().sum(1) / SINGLES
    size = SMALLEST
    while 4 * size <= len(x):
        products = [draw(size) for _ in range(BATCHES)]
        excess = [largest_eigenvalue(product, v)[0] - (product(v) * v).sum(1) for product in products]
        yield "batch_hessian_excess", size, torch.stack(excess).mean(0)
        yield "batch_hessian_theory", size, noise / (size * top)
        size *= 2
