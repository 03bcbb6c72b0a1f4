"""The optimizers' rules over a whole stack, with numbers of each step and member in tensors: what a GPU runs.

Nothing here depends on a number that Python knows, so that a recorded step can be replayed with others. The rules are
those of `muster.native.binding.RULES`, their numbers the fields of `Update` there. `_foreach_` runs one kernel for all
tensors; numbers of members broadcast, which is a kernel a tensor.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Tensors = list[Tensor]
Numbers = Mapping[str, Tensors]  # by field: for each tensor [E, 1, …], to broadcast against it
Rule = Callable[[Tensors, Sequence[Tensors], Tensors, Numbers], None]


def sgd(w: Tensors, state: Sequence[Tensors], g: Tensors, numbers: Numbers) -> None:
    """w ← w − rate · (g + couple · w)."""
    _move(w, _coupled(w, g, numbers), numbers)


def momentum(w: Tensors, state: Sequence[Tensors], g: Tensors, numbers: Numbers) -> None:
    """m ← β m + g + couple · w, then w ← w − rate · m."""
    (m,) = state
    torch._foreach_mul_(m, numbers["beta1"])
    torch._foreach_add_(m, _coupled(w, g, numbers))
    _move(w, m, numbers)


def adam(w: Tensors, state: Sequence[Tensors], g: Tensors, numbers: Numbers) -> None:
    """Kingma & Ba 2015, Algorithm 1, with coupled and decoupled decay."""
    m, v = state
    g = _coupled(w, g, numbers)
    torch._foreach_add_(m, torch._foreach_mul(torch._foreach_sub(g, m), numbers["gain1"]))
    torch._foreach_mul_(v, numbers["beta2"])
    torch._foreach_add_(v, torch._foreach_mul(torch._foreach_mul(g, g), numbers["gain2"]))
    below = torch._foreach_sqrt(v)
    torch._foreach_mul_(below, numbers["root"])
    torch._foreach_add_(below, numbers["epsilon"])
    torch._foreach_mul_(w, numbers["keep"])
    _move(w, list(torch._foreach_div(m, below)), numbers)


def _coupled(w: Tensors, g: Tensors, numbers: Numbers) -> Tensors:
    """g + couple · w."""
    return list(torch._foreach_add(g, torch._foreach_mul(w, numbers["couple"])))


def _move(w: Tensors, direction: Tensors, numbers: Numbers) -> None:
    torch._foreach_sub_(w, torch._foreach_mul(direction, numbers["rate"]))


RULES: dict[str, Rule] = {"sgd": sgd, "momentum": momentum, "adam": adam}
