"""Stacked transformer against loops of nanoGPT-style torch models and against compiled JAX: one sweep on one core.

    taskset -c 0 python benchmarks/transformer.py [--widths 32 64 ...] [--contexts 64 32] [--batches 1 2 8]

Every case trains a sweep of learning rates of a decoder-only transformer: two blocks, learned positions, heads of width
32, layer normalization with trainable gains, GELU, an own readout of 256 bytes. Turns, ratios, seconds and JAX as in
engine.py. Writes benchmarks/results/transformer.json, where cases that were not measured this time stay as they were.
"""

import argparse
import itertools
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from engine import ON_TORCH, Turns, gemm_rate, ours, write
from jax_client import Jax, interpreter
from muster.training.cell import TrainCell
from muster.training.engine import Data

MEMBERS, VOCABULARY, BLOCKS, HEAD_WIDTH = 8, 256, 2, 32
RESULTS = Path(__file__).parent / "results" / "transformer.json"


def data(batch: int, context: int) -> Data:
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, VOCABULARY, (16 * batch, context + 1)))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return Data(x, y, (x[:2], y[:2]), (x[:2], y[:2]), VOCABULARY, positions=context)


def sweep(width: int, batch: int, context: int) -> TrainCell:
    return TrainCell(
        family="transformer", norm="layer", gains=True, width=width, depth=BLOCKS, head_width=HEAD_WIDTH, seed=0,
        log2_lr=[-12 + i / 2 for i in range(MEMBERS)], batch_size=batch, steps=10**6, optimizer="adamw",
        weight_decay=0.01, rule="constant", schedule="constant", divergence_ratio=1e9, data="python_text",
        data_options={"encoding": "tokens", "context": context},
    )  # fmt: skip


class Norm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, h):
        return functional.layer_norm(h, h.shape[-1:], self.gain)


class Block(nn.Module):
    """Attention with queries, keys and values from one product, then two matrices with GELU between."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.before_attention, self.before_feedforward = Norm(width), Norm(width)
        self.qkv, self.merge = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, h):
        batch, context, width = h.shape
        parts = self.qkv(self.before_attention(h)).split(width, dim=2)
        q, k, v = (part.view(batch, context, self.heads, -1).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.merge(mixed.transpose(1, 2).reshape(batch, context, width))
        return h + self.down(functional.gelu(self.up(self.before_feedforward(h))))


class Plain(nn.Module):
    def __init__(self, width: int, context: int):
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(BLOCKS)])
        self.norm, self.readout = Norm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, x):
        h = self.token(x) + self.position(torch.arange(x.shape[1]))
        return self.readout(self.norm(self.blocks(h)))


def torch_loop(width: int, batch: int, context: int, steps: int, fused: bool) -> Callable[[], None]:
    """The usual recipe: one model after another, one batch after another."""
    values = data(batch, context)
    models = [Plain(width, context) for _ in range(MEMBERS)]
    options = {"fused": True} if fused else {}
    optimizers = [torch.optim.AdamW(model.parameters(), lr=2**-10, **options) for model in models]

    def train() -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            for step in range(steps):
                part = slice(step % 16 * batch, (step % 16 + 1) * batch)
                optimizer.zero_grad()
                f = model(values.x[part])
                functional.cross_entropy(f.view(-1, VOCABULARY), values.y[part].view(-1)).backward()
                optimizer.step()

    return train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--contexts", type=int, nargs="+", default=[64, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 8], help="sequences")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    jax = Jax(python) if (python := interpreter()) else None
    rows = []
    for context, batch, width in itertools.product(arguments.contexts, arguments.batches, arguments.widths):
        steps = max(2, min(20, 1024 // width))
        contenders = {
            "ours": ours(sweep(width, batch, context), data(batch, context), steps),
            "torch.optim.AdamW": torch_loop(width, batch, context, steps, fused=False),
            "torch.optim.AdamW(fused=True)": torch_loop(width, batch, context, steps, fused=True),
            ON_TORCH: ours(sweep(width, batch, context), data(batch, context), steps, by_torch=True),
        }
        if jax:
            jax.prepare(
                family="transformer", width=width, batch=batch, members=MEMBERS, context=context, vocabulary=VOCABULARY,
                blocks=BLOCKS, head_width=HEAD_WIDTH, steps=steps,
            )  # fmt: skip
        turns = Turns(contenders, jax, arguments.repeats, MEMBERS * steps)
        matrices = 12 * BLOCKS * width**2 + width * VOCABULARY
        attention = 6 * BLOCKS * context * width  # two products forward, four backward
        flops = (6.0 * matrices + 2.0 * attention) * batch * context
        share = flops / turns.seconds("ours") / gemm_rate(width, batch * context)
        case = f"transformer batch={batch} context={context} width={width}"
        rows += turns.rows(case, "torch.optim.AdamW", "loop of nanoGPT-style torch.nn models", share)
    write(RESULTS, rows)


if __name__ == "__main__":
    main()
