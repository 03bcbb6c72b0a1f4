"""A character model trained in the manner of nanoGPT: settings are globals, `--name=value` replaces them.

The data are a Markov chain of second order over 16 letters, so that nothing is downloaded.
"""

import math
import sys
from ast import literal_eval
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

out = "log.csv"
n_layer, n_head, n_embd = 2, 4, 64
block_size, batch_size = 32, 16
learning_rate, min_lr_share, weight_decay = 1e-3, 0.1, 0.1
warmup_iters, max_iters, eval_interval = 20, 200, 50
seed = 0
for argument in sys.argv[1:]:
    name, _, text = argument.removeprefix("--").partition("=")
    if name not in globals() or name.startswith("_"):
        sys.exit(f"no setting {name!r}")
    value = text if isinstance(globals()[name], str) else literal_eval(text)
    globals()[name] = value

LETTERS = 16


def make_text(length: int) -> torch.Tensor:
    """Letters of a chain whose transitions, from pairs of letters, are sharp but random."""
    generator = torch.Generator().manual_seed(0)
    transitions = torch.softmax(2 * torch.randn(LETTERS, LETTERS, LETTERS, generator=generator), -1)
    ends, draws = transitions.cumsum(-1), torch.rand(length, generator=generator)
    letters = [0, 1]
    for draw in draws[2:]:
        row = ends[letters[-2], letters[-1]]
        letters.append(min(int(torch.searchsorted(row, draw)), LETTERS - 1))
    return torch.tensor(letters)


class Block(nn.Module):
    """Attention and MLP, each after a LayerNorm and beside the residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.qkv, self.proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x_BxLxD: torch.Tensor) -> torch.Tensor:
        b, l, d = x_BxLxD.shape
        heads = self.qkv(self.ln_1(x_BxLxD)).view(b, l, 3, n_head, d // n_head).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).reshape(b, l, d)
        x_BxLxD = x_BxLxD + self.proj(mixed)
        return x_BxLxD + self.mlp(self.ln_2(x_BxLxD))


class Model(nn.Module):
    """A GPT with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(LETTERS, n_embd), nn.Embedding(block_size, n_embd)
        self.blocks = nn.Sequential(*(Block() for _ in range(n_layer)))
        self.ln_f, self.head = nn.LayerNorm(n_embd), nn.Linear(n_embd, LETTERS, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, letters_BxL: torch.Tensor) -> torch.Tensor:
        x_BxLxD = self.wte(letters_BxL) + self.wpe.weight[: letters_BxL.shape[1]]
        return self.head(self.ln_f(self.blocks(x_BxLxD)))


def get_batch(text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.randint(len(text) - block_size - 1, (batch_size,))
    rows = torch.stack([text[start : start + block_size + 1] for start in starts.tolist()])
    return rows[:, :-1], rows[:, 1:]


def get_loss(model: Model, text: torch.Tensor) -> torch.Tensor:
    x, y = get_batch(text)
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


def get_lr(step: int) -> float:
    """Linear warm-up, then a cosine down to `min_lr_share` of the rate."""
    if step < warmup_iters:
        return learning_rate * (step + 1) / (warmup_iters + 1)
    share = (step - warmup_iters) / max(1, max_iters - warmup_iters)
    return learning_rate * (min_lr_share + (1 - min_lr_share) * 0.5 * (1 + math.cos(math.pi * share)))


def main() -> None:
    text = make_text(20_000)
    train, heldout = text[:18_000], text[18_000:]
    torch.manual_seed(seed)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=weight_decay)
    lines = ["step,train_loss,eval_loss"]
    for step in range(max_iters + 1):
        if step % eval_interval == 0 or step == max_iters:
            with torch.no_grad():
                losses = [sum(get_loss(model, part).item() for _ in range(8)) / 8 for part in (train, heldout)]
            lines.append(f"{step},{losses[0]},{losses[1]}")
            print(lines[-1])
        for group in optimizer.param_groups:
            group["lr"] = get_lr(step)
        optimizer.zero_grad()
        get_loss(model, train).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    Path(out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
