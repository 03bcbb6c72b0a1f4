"""The table that a parameterization applies at a given size, as `muster show parameterization` prints it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from muster.parameterizations.scaling import Tensor, exponents, scalings
from muster.parameterizations.tables import PARAMETERIZATIONS


def effective_table(
    parameterization: str,
    optimizer: str,
    rule: str,
    tensors: Sequence[Tensor],
    width_ratio: float,
    lr: float = 1.0,
    *,
    eps: float = 1.0,
    weight_decay: float = 1.0,
    depth_ratio: float = 1.0,
    epsilon_rule: str = "constant",
    decay_rule: str = "constant_product",
) -> list[dict[str, Any]]:
    """One row a tensor: what is applied to it, and the exponents of the width ratio behind it.

    effective_init_std is the standard deviation of multiplier·w, init_std that of w; learning_rate, epsilon and
    weight_decay are `lr`, `eps` and `weight_decay` times the tensor's factors (the factors alone at the defaults).
    a, b: multiplier ∝ n^(−a), init_std ∝ n^(−b); g: gradient ∝ n^(−g) at initialization; `*_exponent`: x of n^x.
    Errors as in `scalings`.
    """
    rules = {"epsilon_rule": epsilon_rule, "decay_rule": decay_rule}
    applied = scalings(
        parameterization, optimizer, rule, tensors, width_ratio=width_ratio, depth_ratio=depth_ratio, **rules
    )
    table = PARAMETERIZATIONS[parameterization]
    rows = []
    for tensor in tensors:
        scaling = applied[tensor.name]
        powers = exponents(table, optimizer, rule, tensor.role, **rules)
        rows.append(
            {
                "tensor": tensor.name,
                "role": tensor.role,
                "shape": tensor.shape,
                "effective_init_std": scaling.multiplier * scaling.init_std,
                "init_std": scaling.init_std,
                "multiplier": scaling.multiplier,
                "learning_rate": lr * scaling.lr,
                "epsilon": eps * scaling.eps,
                "weight_decay": weight_decay * scaling.weight_decay,
                "a": table.row(tensor.role).a,
                "b": table.row(tensor.role).b,
                "g": table.gradient(tensor.role),
                "lr_exponent": powers.lr.width,
                "epsilon_exponent": powers.eps.width,
                "weight_decay_exponent": powers.weight_decay.width,
            }
        )
    return rows


_HEADINGS = {
    "tensor": "tensor",
    "role": "role",
    "shape": "shape",
    "effective_init_std": "std(W)",
    "init_std": "std(w)",
    "multiplier": "W/w",
    "learning_rate": "lr",
    "epsilon": "eps",
    "weight_decay": "decay",
    "a": "a",
    "b": "b",
    "g": "g",
    "lr_exponent": "lr ∝",
    "epsilon_exponent": "eps ∝",
    "weight_decay_exponent": "decay ∝",
}


def render_table(rows: Sequence[dict[str, Any]]) -> str:
    """Aligned plain text of `effective_table`: numbers to four digits, exponents as fractions."""
    lines = [list(_HEADINGS.values())]
    lines += [[_text(column, row[column]) for column in _HEADINGS] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _text(column: str, value: Any) -> str:
    if column in ("tensor", "role"):
        return str(value)
    if column == "shape":
        return "×".join(map(str, value))
    if column in ("a", "b", "g"):
        return str(Fraction(value))
    if column.endswith("_exponent"):
        return f"n^{Fraction(value)}" if value else "1"
    return f"{value:.4g}"
