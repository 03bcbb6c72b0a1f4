"""Descent on an ill-conditioned factorisation, against closed forms of its slowest direction and a plain loop."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from muster.errors import MusterError
from muster.sampling.scaled_descent import ScaledDescentCell, descend


def cell(**settings: object) -> ScaledDescentCell:
    return ScaledDescentCell.model_validate(
        {"width": 12, "depth": 1, "seed": 0, "condition": 16, "draws": 5, **settings}
    )


def by_hand(given: ScaledDescentCell, draw: int) -> int:
    """One start with explicit inverses, the gradient taken from finite differences of the loss."""
    n, k = given.width, given.rank + given.excess
    target = np.diag(np.r_[np.geomspace(1, 1 / given.condition, given.rank), np.zeros(n - given.rank)])
    starts = np.random.default_rng(3).standard_normal((given.draws, n, k))
    x = given.init * math.sqrt(1 / given.condition / n) * starts[draw]

    def loss(x: np.ndarray) -> float:
        return 0.25 * float(((x @ x.T - target) ** 2).sum())

    for update in range(10_000):
        if np.linalg.norm(x @ x.T - target) <= given.accuracy / given.condition:
            return update
        gradient = np.empty_like(x)
        for index in np.ndindex(x.shape):
            nudge = np.zeros_like(x)
            nudge[index] = 1e-4
            gradient[index] = (loss(x + nudge) - loss(x - nudge)) / 2e-4
        if given.method == "scaled":
            gradient = gradient @ np.linalg.inv(x.T @ x + given.damping / given.condition * np.eye(k))
        x = x - given.rate * gradient
    raise AssertionError("not done")


@pytest.mark.parametrize("method", ["gd", "scaled"])
def test_updates_equal_those_of_a_plain_loop_on_the_loss(method: str) -> None:
    given = cell(method=method, condition=4, width=5, rank=3, excess=1, init=0.1, draws=2)
    assert list(descend(given, np.random.default_rng(3))) == [by_hand(given, 0), by_hand(given, 1)]


@pytest.mark.parametrize(("method", "growth"), [("gd", 0.3 / 64), ("scaled", 0.3)])
def test_the_weakest_direction_grows_by_its_closed_form(method: str, growth: float) -> None:
    """A start smaller by e² takes 2/ln(1 + growth) updates more: all else stays as it was."""
    near, far = (
        descend(cell(method=method, condition=64, init=1e-6 * scale, draws=32), np.random.default_rng(0)).mean()
        for scale in (1, math.exp(-2))
    )
    assert far - near == pytest.approx(2 / math.log1p(growth), rel=0.01, abs=0.6)


def test_a_run_that_is_not_done_says_so() -> None:
    with pytest.raises(MusterError, match="max_updates"):
        descend(cell(max_updates=10), np.random.default_rng(0))


def test_more_columns_than_rows_are_refused() -> None:
    with pytest.raises(ValidationError, match="columns exceed width"):
        cell(rank=10, excess=3)
