"""Free embeddings against finite differences, torch's Adam, known configurations and the quoted values of the cubic."""

import itertools

import numpy as np
import pytest
import torch

from muster.sampling import free_embedding
from muster.sampling.free_embedding import (
    adam_on_spheres,
    loss_gradients,
    succeeded,
    unit,
    wanted,
)
from tests.statistical.test_regression_laws import formula, probes


def cross_entropy(queries, documents, mask):
    p = torch.log_softmax(queries @ documents.T / 0.1, dim=1)
    return -(p * torch.tensor(mask)).sum() / mask.sum()


def test_gradients_are_those_of_the_cross_entropy():
    mask, rng = wanted(5), np.random.default_rng(0)
    assert mask.shape == (10, 5)
    assert (mask.sum(axis=1) == 2).all()
    parts = [unit(rng.standard_normal((1, count, 3))) for count in (10, 5)]
    leaves = [torch.tensor(part[0], requires_grad=True) for part in parts]
    cross_entropy(*leaves, mask).backward()
    for found, leaf in zip(loss_gradients(*parts, mask)[1:], leaves, strict=True):
        np.testing.assert_allclose(found[0], leaf.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_updates_are_those_of_torchs_adam_on_the_sphere():
    mask, rng = wanted(5), np.random.default_rng(1)
    parts = [unit(rng.standard_normal((2, count, 3))) for count in (10, 5)]
    leaves = [torch.tensor(part[1], requires_grad=True) for part in parts]
    moments, adam = [[np.zeros_like(part)] * 2 for part in parts], torch.optim.Adam(leaves, lr=0.01)
    for update in range(1, 21):
        parts, moments = adam_on_spheres(parts, moments, list(loss_gradients(*parts, mask)[1:]), update)
        adam.zero_grad()
        cross_entropy(*leaves, mask).backward()
        adam.step()
        with torch.no_grad():
            for leaf in leaves:
                leaf /= leaf.norm(dim=1, keepdim=True)
    for part, leaf in zip(parts, leaves, strict=True):
        np.testing.assert_allclose(part[1], leaf.detach().numpy(), atol=1e-9)


def test_the_corners_of_a_tetrahedron_serve_all_pairs_and_are_found_and_those_of_a_square_do_not():
    corners = unit(np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]]))
    pairs = list(itertools.combinations(range(4), 2))
    queries = unit(np.array([corners[i] + corners[j] for i, j in pairs]))
    assert succeeded((queries @ corners.T)[None], wanted(4)).all()
    square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1.0]])
    angles = np.linspace(0, 2 * np.pi, 401)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
    served = [succeeded(circle @ square.T, wanted(4)[k : k + 1]).any() for k in range(6)]
    assert [pairs[k] for k in range(6) if not served[k]] == [(0, 2), (1, 3)]
    assert probes("free_embedding", width=3, max_updates=500, draws=2)["value"].item() == 4


def test_the_cubic_has_the_values_that_others_quote_and_no_square_has():
    found = formula("critical_documents", width=[512, 768, 1024])
    assert found == pytest.approx([5e5, 1.7e6, 4e6], rel=0.03)
    assert np.diff(np.log(found)) / np.diff(np.log([512, 768, 1024])) == pytest.approx([3, 3], abs=0.05)


@pytest.mark.parametrize(("fits", "found"), [([], 2), ([3, 4, 5], 5), ([3, 5], 5), ([4, 7], 4)])
def test_the_most_documents_that_half_of_the_starts_place(monkeypatch, fits, found):
    """Two always can be placed; two numbers in a row that cannot are the end."""
    monkeypatch.setattr(free_embedding, "success_share", lambda cell, documents, rng: float(documents in fits))
    assert probes("free_embedding", width=2)["value"].tolist() == [found]
