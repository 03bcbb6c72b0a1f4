"""Random networks layer by layer: the vocabulary and the pieces that the sampling experiments share.

A network has layers of `width` = n units with independent weights of mean 0 and variance C_W / fan-in
(`weight_variance` = C_W). Its preactivations are z_ℓ = W_ℓ h_{ℓ−1} with h_ℓ = φ(z_ℓ); `covariance` is S_ℓ = (C_W/n)
h_ℓ h_ℓᵀ over the channels of a draw. A channel is an input, or the derivative of the network along a direction of the
first input.

For Gaussian weights the rows of z_{ℓ+1} are independent N(0, S_ℓ) given S_ℓ, whatever came before (the conditional
law of a Gaussian matrix applied to fixed vectors; R. Neal, Priors for infinite networks, 1996). A draw therefore
costs n normal numbers a layer and channel, not n², and the law is exact at every width. Dimensions: D draws, C
channels, n units, T tokens or nodes.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from muster.experiments import absent_fields

Array = NDArray[np.floating]
CHUNK_ENTRIES = 1_000_000  # numbers held at a time: they stay near the cache


class Activation(NamedTuple):
    """A nonlinearity and its derivative, both elementwise."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def _tanh_slope(z: Array) -> Array:
    return 1 - np.tanh(z) ** 2


ACTIVATIONS = {
    "relu": Activation(lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "tanh": Activation(np.tanh, _tanh_slope),
}


def generator(cell: BaseModel) -> np.random.Generator:
    """Random numbers of a cell, a function of all its settings: cells that differ in any of them are independent, as
    estimators over cells assume."""
    settings = cell.model_dump_json(exclude=absent_fields(cell) or None)
    digest = hashlib.sha256(settings.encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def chunks(draws: int, entries: int) -> Iterator[int]:
    """Numbers of draws that add up to `draws`, each so that draws × entries stays within CHUNK_ENTRIES."""
    size = max(1, CHUNK_ENTRIES // entries)
    for start in range(0, draws, size):
        yield min(size, draws - start)


def covariance(h_DxCxn: Array, weight_variance: float) -> Array:
    """S = (C_W/n) h hᵀ [D, C, C] in float64: the covariance of the next preactivations."""
    scale = weight_variance / h_DxCxn.shape[-1]
    return scale * (h_DxCxn @ np.swapaxes(h_DxCxn, -1, -2)).astype(np.float64)


def _root(covariance_DxCxC: Array) -> Array:
    """Cholesky factors of positive semidefinite matrices: a pivot of zero, as of a dead network, leaves a column of
    zeros."""
    factor = np.zeros_like(covariance_DxCxC)
    for j in range(covariance_DxCxC.shape[-1]):
        rest = covariance_DxCxC[:, j:, j] - np.einsum("dik,dk->di", factor[:, j:, :j], factor[:, j, :j])
        pivot = np.sqrt(np.maximum(rest[:, :1], 0))
        factor[:, j:, j] = np.divide(rest, pivot, out=np.zeros_like(rest), where=pivot > 0)
    return factor


def preactivations(covariance_DxCxC: Array, width: int, rng: np.random.Generator) -> Array:
    """`width` independent columns N(0, S) for every draw: [D, C, width] in float32."""
    count, channels = covariance_DxCxC.shape[:2]
    normal = rng.standard_normal((count, channels, width), dtype=np.float32)
    return _root(covariance_DxCxC).astype(np.float32) @ normal


def features_and_tangent(activation: Activation, z_DxCxn: Array) -> Array:
    """φ of every channel but the last, which is the derivative of the first: φ'(z_first) z_last. [D, C, n]."""
    h = np.empty_like(z_DxCxn)
    h[:, :-1] = activation.value(z_DxCxn[:, :-1])
    h[:, -1] = activation.slope(z_DxCxn[:, 0]) * z_DxCxn[:, -1]
    return h


def gaussian_weights(rng: np.random.Generator, count: int, width: int, weight_variance: float = 1.0) -> Array:
    """Weight matrices [count, width, width] with normal entries of variance C_W / width."""
    return rng.standard_normal((count, width, width)) * np.sqrt(weight_variance / width)


def dispersion(h: Array) -> Array:
    """1 − mean cosine over all ordered pairs of the T rows of h [..., T, n], a row with itself included: [...].

    Written as the mean squared distance of the unit rows from their mean, so that values far below 1e-16 are exact.
    """
    unit = h / np.linalg.norm(h, axis=-1, keepdims=True)
    return np.square(unit - unit.mean(axis=-2, keepdims=True)).sum(axis=-1).mean(axis=-1)
