"""A training script that Hydra configures: settings in conf/, overrides on the command line, results as JSON.

Needs the package `hydra-core`.
"""

import itertools
import json
from pathlib import Path

import hydra
import torch
from omegaconf import DictConfig
from torch import nn
from torch.nn import functional as F

FEATURES = 16


def make_model(width: int, depth: int) -> nn.Sequential:
    """A ReLU network whose readout starts at zero."""
    sizes = [FEATURES, *[width] * depth]
    pairs = itertools.pairwise(sizes)
    layers = [part for d_in, d_out in pairs for part in (nn.Linear(d_in, d_out), nn.ReLU())]
    readout = nn.Linear(width, 1)
    nn.init.zeros_(readout.weight)
    return nn.Sequential(*layers, readout)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    torch.manual_seed(cfg.seed)
    x = torch.randn(2048, FEATURES, generator=torch.Generator().manual_seed(0))
    y = torch.sin(2 * x[:, :1]) * x[:, 1:2]
    model = make_model(cfg.model.width, cfg.model.depth)
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.optimizer.lr)
    for _ in range(cfg.steps):
        batch = torch.randint(len(x), (cfg.optimizer.batch_size,))
        optimizer.zero_grad()
        F.mse_loss(model(x[batch]), y[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        loss = F.mse_loss(model(x), y).item()
    Path(cfg.output).write_text(json.dumps({"final_train_loss": loss, "steps": cfg.steps}))


if __name__ == "__main__":
    main()
