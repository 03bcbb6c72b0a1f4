"""One-dimensional convolutional networks for sequences of one channel, stacked over members.

Layers of `width` channels, stride 1, zero padding that keeps the length (an even kernel has the longer side on the
right), then the mean over positions and a readout. A convolution is one matrix product over windows: C channels, T
positions, Q kernel size; weights [E, Q·C, O]. Other shapes as in `muster.models.mlp`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from muster.models.activations import ACTIVATIONS
from muster.models.base import Site
from muster.models.mlp import Weights
from muster.models.shapes.convnet import DEFAULT_KERNEL, tensors


class Convnet:
    """1-D convolutional network: `depth` layers of `width` channels with kernel `kernel_size`, no biases."""

    def __init__(self, cell, in_features: int, out_features: int):
        self.activation = ACTIVATIONS[cell.activation]
        self.kernel, self.depth = cell.kernel_size or DEFAULT_KERNEL, cell.depth
        self.tensors = tensors(cell, in_features, out_features)

    def windows(self, h_ExBxTxC: Tensor) -> Tensor:
        """The Q·C inputs of every position, kernel position first: [E, B·T, Q·C]."""
        left = (self.kernel - 1) // 2
        padded = torch.nn.functional.pad(h_ExBxTxC, (0, 0, left, self.kernel - 1 - left))
        members, batch, length, channels = h_ExBxTxC.shape
        unfolded = padded.unfold(2, self.kernel, 1).transpose(-1, -2)
        return unfolded.reshape(members, batch * length, self.kernel * channels)

    def sites(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> list[Site]:
        """Every matrix product, positions counted as examples; the last result is the output f_ExBxK."""
        members, batch, length = x_ExBxI.shape
        sites, h = [], x_ExBxI.unsqueeze(-1)
        for layer in range(1, self.depth + 1):
            name, windows = f"w{layer}", self.windows(h)
            z = torch.bmm(windows, w[name]) * multiplier[name]
            sites.append(Site(name, windows, z))
            h = self.activation.forward_(z.clone()).view(members, batch, length, -1)
        name, pooled = f"w{self.depth + 1}", h.mean(2)
        sites.append(Site(name, pooled, torch.bmm(pooled, w[name]) * multiplier[name]))
        return sites

    def output(self, w: Weights, multiplier: Mapping[str, float], x_ExBxI: Tensor) -> Tensor:
        """f_ExBxK."""
        return self.sites(w, multiplier, x_ExBxI)[-1].z_ExBxO

    def workspace(self, w: Weights, multiplier: Mapping[str, float], batch: int) -> None:
        """Gradients are left to autograd."""
        return None
