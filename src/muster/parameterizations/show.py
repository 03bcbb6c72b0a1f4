"""The table that a parameterization applies at a given size, as `muster show parameterization` prints it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from muster.parameterizations.scaling import Factor, Tensor, exponents, scalings
from muster.parameterizations.tables import PARAMETERIZATIONS, MatrixUpdate, Update


def effective_table(
    parameterization: str,
    update: Update,
    rule: str,
    tensors: Sequence[Tensor],
    width_ratio: float,
    lr: float = 1.0,
    *,
    eps: float | None = 1.0,
    weight_decay: float = 1.0,
    depth_ratio: float = 1.0,
    alpha: float | None = None,
    epsilon_rule: str = "constant",
    decay_rule: str = "constant_product",
    factors: Sequence[Factor] = (),
) -> list[dict[str, Any]]:
    """One row a tensor: what is applied to it, and the exponents of the width and depth ratios behind it; then one a
    factor that belongs to no tensor, which has a multiplier alone, and None elsewhere.

    effective_init_std is the standard deviation of multiplier·w, init_std that of w; learning_rate, epsilon and
    weight_decay are `lr`, `eps` and `weight_decay` times the tensor's factors (the factors alone at the defaults);
    eps None: the optimizer has none.
    a, b: multiplier ∝ n^(−a), init_std ∝ n^(−b); g: gradient ∝ n^(−g) at initialization; `*_exponent`: the `Power` (x,
    y) of n^x·L^y. Arguments and errors as in `scalings`.
    """
    rules = {"epsilon_rule": epsilon_rule, "decay_rule": decay_rule}
    applied = scalings(
        parameterization,
        update,
        rule,
        tensors,
        width_ratio=width_ratio,
        depth_ratio=depth_ratio,
        alpha=alpha,
        **rules,
    )
    table = PARAMETERIZATIONS[parameterization]
    rows: list[dict[str, Any]] = []
    for tensor in tensors:
        scaling = applied[tensor.name]
        powers = exponents(table, update, rule, tensor.role, branch=tensor.branch, alpha=alpha, **rules)
        rows.append(
            {
                "tensor": tensor.name,
                "role": tensor.role,
                "branch": tensor.branch,
                "shape": tensor.shape,
                "effective_init_std": scaling.multiplier * scaling.init_std,
                "init_std": scaling.init_std,
                "multiplier": scaling.multiplier,
                "learning_rate": lr * scaling.lr,
                "epsilon": None if eps is None else eps * scaling.eps,
                "weight_decay": weight_decay * scaling.weight_decay,
                "a": table.row(tensor.role).a,
                "b": table.row(tensor.role).b,
                "g": table.gradient(tensor.role),
                "lr_exponent": powers.lr,
                "epsilon_exponent": None if eps is None else powers.eps,
                "weight_decay_exponent": powers.weight_decay,
            }
        )
    return rows + [_factor_row(factor) for factor in factors]


def step_in_words(update: Update) -> str:
    """What the size of a step is proportional to, beside the learning rate."""
    own = f"|gradient|^{update.gradient:g}·|w|^{update.weight:g}"
    if not isinstance(update, MatrixUpdate):
        return own
    own += f"·fan_in^{-update.fan_in:g}·fan_out^{-update.fan_out:g}·({update.scale} scale)"
    return f"{own} in {', '.join(update.roles)}, {step_in_words(update.rest)} elsewhere"


def _factor_row(factor: Factor) -> dict[str, Any]:
    known = {
        "tensor": factor.name,
        "role": factor.role,
        "shape": factor.shape,
        "multiplier": factor.value,
        "a": factor.a,
    }
    return dict.fromkeys(_HEADINGS) | known


_HEADINGS = {
    "tensor": "tensor",
    "role": "role",
    "branch": "branch",
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
            cell.ljust(width) if i < 4 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _text(column: str, value: Any) -> str:
    if value is None:
        return "–"
    if column in ("tensor", "role"):
        return str(value)
    if column == "branch":
        return "yes" if value else "–"
    if column == "shape":
        return "×".join(map(str, value))
    if column in ("a", "b", "g"):
        return str(Fraction(value))
    if column.endswith("_exponent"):
        factors = [f"{base}^{Fraction(x).limit_denominator(1000)}" for base, x in zip("nL", value, strict=True) if x]
        return "·".join(factors) or "1"
    return f"{value:.4g}"
