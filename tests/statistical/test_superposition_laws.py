"""The sum over unrepresented features against principal components and trained networks; wrong exponents against it."""

import numpy as np
import pandas as pd
import pytest
import torch

from muster.data import write_dataset
from muster.data.sparse_features import SparseFeaturesOptions, stream
from muster.experiments import Context
from muster.fitting.closed_forms.base import CLOSED_FORMS
from muster.training.cell import TrainCell
from muster.training.engine import train
from tests.statistical.test_regression_laws import decide, formula

NAME = "unrepresented_variance"


@pytest.mark.parametrize("decay", [0, 1, 2.5])
def test_the_sum_is_the_residual_of_principal_components(decay):
    """Eigenvalues of the covariance of many fresh draws: neither probabilities nor moments are written down."""
    x, _ = stream(SparseFeaturesOptions(features=8, decay=decay), np.random.default_rng(0), 400_000)
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T.astype(float)))
    widths = np.array([1, 3, 6])
    expected = formula(NAME, width=widths, features=[8] * 3, decay=[decay] * 3)
    found = np.array([eigenvalues[: 8 - m].sum() for m in widths])
    assert (np.abs(found / expected - 1) < [0.02, 0.05, 0.08]).all()  # few events of the rarest features


@pytest.mark.parametrize("decay", [1.5, 2, 3])
def test_the_sum_has_the_exponent_of_the_paper_far_below_n(decay):
    widths = np.array([100, 200, 400])
    values = formula(NAME, width=widths, features=[10**6] * 3, decay=[decay] * 3)
    rows = pd.DataFrame({"width": np.repeat(widths, 2), "seed": [0, 1] * 3, "value": np.repeat(values, 2)})
    slack = 0.02 + 2 * (400 / 10**6) ** (decay - 1)  # the next orders, in 1/m and m/n
    assert decide(rows, "width", -(decay - 1), margin=slack) == "supported"
    assert decide(rows, "width", -decay, margin=slack) == "refuted"
    assert decide(rows, "width", -2 * (decay - 1), margin=slack) == "refuted"


def test_the_sum_ends_at_nothing_and_starts_at_all():
    zero, everything = formula(NAME, width=[50, 0], features=[50, 50], decay=[1.0, 1.0])
    assert zero == 0
    p = np.arange(1, 51.0) ** -1
    p /= p.sum()
    assert everything == pytest.approx((p * 4 / 3 - p**2).sum())


def reconstruction(tmp_path, widths, **changes):
    """Held-out ‖f − x‖² of trained networks, as rows of a table of probes."""
    torch.set_num_threads(1)
    found = []
    for width in widths:
        settings = {
            "width": width, "seed": 0, "log2_lr": [-5.0], "family": "autoencoder", "data": "sparse_features",
            "features": 48, "decay": 2.0, "data_options": {"train": 64, "heldout": 8192}, "loss": "squared_error",
            "optimizer": "adamw", "rule": "constant", "base_depth": 1, "init_gain": 0.1, "batch_size": 256,
            "steps": 800, "schedule": "cosine", "evaluations": 1, "evaluation_examples": 8192,
            "probes": ["superposition"], "probe_steps": [800], "depth": 1,
        }  # fmt: skip
        c = TrainCell(**(settings | changes))
        folder = tmp_path / "data"
        write_dataset(c.data, c.data_options, folder)
        probes = train(c, Context(data_dir=folder, progress=lambda text: None)).probes
        value = probes.set_index("probe").loc["reconstruction_error", "value"]
        found.append({"seed": 0, "width": width, "features": c.features, "decay": c.decay, "value": value})
    return pd.DataFrame(found)


def test_networks_without_superposition_reach_the_sum(tmp_path):
    rows = reconstruction(tmp_path, [2, 4, 8, 16], activation="identity")
    np.testing.assert_allclose(rows["value"], CLOSED_FORMS[NAME](rows), rtol=0.05)
    assert decide(rows, "width", -1, margin=0.5) != "refuted"
    assert decide(rows, "width", -0.2, margin=0.2) == "refuted"


def test_superposition_beats_the_sum_and_weak_superposition_lies_between(tmp_path):
    """Eight seeds gave strong ∕ weak a geometric mean of 0.57 and ln(strong ∕ weak) a standard deviation of 0.13: the
    mean of four seeds lies 4.5 standard errors below 0.77, and 0.77 four below 1, where superposition would not matter.
    """
    strong, weak = (
        np.array(
            [
                reconstruction(tmp_path, [8], weight_decay=decay, activation="relu", seed=seed)["value"].item()
                for seed in range(4)
            ]
        )
        for decay in (-1.0, 1.0)
    )
    (ideal,) = formula(NAME, width=[8], features=[48], decay=[2.0])
    assert np.log(strong / weak).mean() < np.log(0.77)
    assert (weak < ideal).all()
