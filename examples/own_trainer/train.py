"""A training script as anybody has one: it takes its settings as options and writes its results as JSON."""

import argparse
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

FEATURES, CLASSES, BASE_WIDTH = 32, 10, 32


def make_data(examples: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs with the labels that a fixed random network gives them, a tenth of them wrong."""
    g = torch.Generator().manual_seed(0)
    teacher = nn.Sequential(nn.Linear(FEATURES, 24), nn.Tanh(), nn.Linear(24, CLASSES))
    for p in teacher.parameters():
        p.data = torch.randn(p.shape, generator=g) / p.shape[-1] ** 0.5
    x = torch.randn(examples, FEATURES, generator=g)
    noise = torch.randint(CLASSES, (examples,), generator=g)
    y = torch.where(torch.rand(examples, generator=g) < 0.1, noise, teacher(x).argmax(1))
    return x.to(device), y.to(device)


def make_model(width: int, parameterization: str, lr: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Two hidden layers; under µP hidden and readout rates of Adam fall as 1/width, and the readout starts at zero."""
    first, hidden, readout = nn.Linear(FEATURES, width), nn.Linear(width, width), nn.Linear(width, CLASSES)
    scale = BASE_WIDTH / width if parameterization == "mup" else 1.0
    if parameterization == "mup":
        nn.init.zeros_(readout.weight)
    wide = [hidden.weight, readout.weight]
    rest = [first.weight, first.bias, hidden.bias, readout.bias]
    optimizer = torch.optim.Adam([{"params": wide, "lr": lr * scale}, {"params": rest, "lr": lr}])
    return nn.Sequential(first, nn.ReLU(), hidden, nn.ReLU(), readout), optimizer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--parameterization", choices=("sp", "mup"), default="sp")
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    x, y = make_data(6000, args.device)
    train, heldout = slice(0, 5000), slice(5000, 6000)
    model, optimizer = make_model(args.width, args.parameterization, args.lr)
    model.to(args.device)
    curves = []
    for step in range(args.steps + 1):
        if step % max(1, args.steps // 5) == 0:
            with torch.no_grad():
                losses = [F.cross_entropy(model(x[part]), y[part]).item() for part in (train, heldout)]
            curves.append({"step": step, "train_loss": losses[0], "eval_loss": losses[1]})
            print(curves[-1])
        batch = torch.randint(5000, (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    parameters = sum(p.numel() for p in model.parameters())
    results = {"final_train_loss": losses[0], "final_eval_loss": losses[1], "steps": args.steps}
    args.output.write_text(json.dumps({**results, "parameters": parameters, "curves": curves}))


if __name__ == "__main__":
    main()
