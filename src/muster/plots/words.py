"""What figures say in words: names and units of columns, values, groups, numbers and intervals.

All of it is plain text. Matplotlib reads no formulas in these figures (see `style`), so that a `$` or `_{` of a study
is shown as it was written; powers are written with raised digits.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from muster.claims import tests

# Columns that name a group before all others do.
FACETS = ("parameterization", "optimizer", "rule")

_LABELS = {
    "width": ("width", "units per layer"),
    "depth": ("depth", "layers or blocks"),
    "step": ("step", "updates"),
    "layer": ("layer", "index"),
    "batch_size": ("batch size", "examples"),
    "log2_lr": ("learning rate", ""),
    "log2_batch": ("batch size", "tokens"),
    "parameters": ("parameters N", "count"),
    "millions": ("parameters N", "millions"),
    "tokens": ("training tokens D", "count"),
    "experts": ("experts", "count"),
    "unique_tokens": ("unique tokens U", "count"),
    "flops": ("training compute C", "FLOP"),
    "streams": ("parallel streams P", "count"),
    "samples": ("samples", "count"),
    "interpolate": ("interpolated labels", ""),
    "clusters": ("clusters k", "count"),
    "size": ("model size N", "parameters"),
    "compute": ("training compute C", "FLOP"),
    "weight_variance": ("weight variance C_W", ""),
    "overtraining": ("tokens per parameter M", "count"),
    "error": ("downstream error", "share"),
    "final_train_loss": ("final training loss", ""),
    "final_eval_loss": ("final held-out loss", ""),
    "train_loss": ("training loss", ""),
    "eval_loss": ("held-out loss", ""),
    "activation_rms": ("RMS of preactivations", ""),
    "activation_change_rms": ("RMS change of preactivations", ""),
    "weight_change_term": ("RMS of ΔW·x", ""),
    "input_change_term": ("RMS of W₀·Δx", ""),
    "feature_change": ("relative feature change", ""),
    "linearization_distance": ("relative distance from linearization", ""),
    "block_linearization_distance": ("relative distance of a block from linearization", ""),
    "residual_rms": ("RMS of the residual stream", ""),
    "residual_change_rms": ("RMS change of the residual stream", ""),
    "final_residual_rms": ("RMS of the residual stream at its end", ""),
    "final_residual_change_rms": ("RMS change of the residual stream at its end", ""),
    "ntk_change": ("relative NTK change", ""),
    "ntk_entry": ("entry of the initial NTK", ""),
    "gradient_rms": ("RMS of gradients", "loss units"),
    "ks_limit": ("KS distance to U[0, 1], infinitely many factors", ""),
    "alignment": ("alignment exponent", ""),
    "eps_killed": ("share of |m̂| below ε", ""),
    "log_norm_mean": ("mean of log ‖z‖²", "nats"),
    "log_norm_var": ("variance of log ‖z‖²", "nats²"),
    "kurtosis_ratio": ("E z⁴ ∕ 3(E z²)²", ""),
    "norm_var_relative": ("Var S ∕ S²", ""),
    "examples": ("training examples", "count"),
    "features": ("input dimension", "features"),
    "kernel_exponent": ("kernel exponent α", ""),
    "decay": ("feature decay α", ""),
    "weight_decay": ("weight decay λ", ""),
    "reconstruction_error": ("mean ‖f − x‖²", ""),
    "squared_overlap": ("mean squared overlap of features", ""),
    "represented": ("share of features represented", ""),
    "ks_uniform": ("KS distance to U[0, 1]", ""),
    "lyapunov": ("Lyapunov exponent λᵢ", "nats per factor"),
    "hidden_units": ("hidden units", "count"),
    "condition": ("condition number κ", ""),
    "layers": ("layers", "count"),
    "accuracy": ("accuracy", "share"),
    "snr": ("signal-to-noise ratio", ""),
    "bits_per_byte": ("held-out loss", "bits per byte"),
    "qk_norm": ("QK norm", ""),
    "per_depth": ("division by depth", ""),
}
_UNITS = {"cross_entropy": "nats per example", "squared_error": "mean squared error"}
_WORDS = {
    "sp": "SP",
    "ntp": "NTP",
    "mfp": "MFP",
    "mup": "μP",
    "depth_mup": "Depth-μP",
    "completep": "CompleteP",
    "sgd": "SGD",
    "momentum": "SGD + momentum",
    "adam": "Adam",
    "adamw": "AdamW",
    "adafactor": "Adafactor",
    "muon": "Muon",
    "shampoo": "Shampoo",
    "soap": "SOAP",
    "kfac": "K-FAC",
    "foof": "FOOF",
    "relu": "ReLU",
    "full_alignment": "full alignment",
    "no_alignment": "no alignment",
    "omega_out_1": "ω_out = 1",
    "constant": "constant rate",
    "global": "global rate",
    "inverse": "attention scale 1/d",
    "inverse_sqrt": "attention scale 1/√d",
    "umup": "u-μP",
    "gd": "GD",
    "gauss": "Gaussian",
    "gaussian": "Gaussian",
    "rademacher": "Rademacher",
    "ols_t": "OLS",
    "hc3": "HC3",
    "reml_kh": "REML",
    "moe": "mixture of experts",
}
_BINARY = ("deduplicated",)  # columns of published tables that hold 0 and 1
# Parameters of scaling laws: their symbols. Others keep their names.
_SYMBOLS = {
    "a": "A",
    "b": "B",
    "e": "E",
    "alpha": "α",
    "beta": "β",
    "r_d": "R_D",
    "r_n": "R_N",
    "lr_tokens": "exponent of the learning rate in D",
    "lr_parameters": "exponent of the learning rate in N",
}


def label(column: str, unit: str | None = None) -> str:
    """The axis label of a column or probe with its unit: the one given, else the column's own."""
    name, own = _LABELS.get(column, (_spaced(column), ""))
    return f"{name} ({unit or own or 'dimensionless'})"


def loss_unit(loss: str) -> str:
    """The unit of a loss function's values."""
    return _UNITS.get(loss, _spaced(loss))


def name_of(column: str) -> str:
    """A column or probe in words, without its unit."""
    return _LABELS.get(column, (_spaced(column), ""))[0]


def without_unit(text: str) -> str:
    """A label without the unit in brackets at its end."""
    return re.sub(r" \([^()]*(\([^()]*\)[^()]*)*\)$", "", text)


def sentence(text: str) -> str:
    """The text with a capital first letter, where that letter is no symbol of its own."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]{2}", text) else text


def word(value: Any) -> str:
    """A value of an axis as readers write it."""
    if isinstance(value, list):
        return " or ".join(map(word, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _setting_text(value)
    return _WORDS.get(str(value), _spaced(str(value)))


def phrase(group: Mapping[str, Any]) -> str:
    """The name of a group: `μP · Adam · layer 2 · no bias`. Texts stand alone, numbers follow their column's name."""
    first = [column for column in FACETS if column in group]
    chosen = {column: group[column] for column in [*first, *(column for column in group if column not in first)]}
    return " · ".join(_setting(column, value) for column, value in chosen.items())


def _setting(column: str, value: Any) -> str:
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, str):
        # The word for "constant" is that of learning rates; of what else is constant the column tells.
        own = column.endswith("_rule") and value == "constant"
        return f"constant {_spaced(column.removesuffix('_rule'))}" if own else word(value)
    if column == "log2_lr":
        return f"learning rate {' or '.join(map(power_of_two, value if isinstance(value, list) else [value]))}"
    if isinstance(value, bool) or column in _BINARY:
        name = name_of(column)
        # A participle is denied (not normalized), what a noun names is absent (no bias).
        return name if value else f"not {name}" if re.fullmatch(r"[a-z]+(ed|ric)", name) else f"no {name}"
    return f"{_spaced(column)} {word(value)}"


def _spaced(text: str) -> str:
    """A name with spaces for underscores; any other text as it is."""
    return text.replace("_", " ") if re.fullmatch(r"[^\W_]\w*", text) else text


def with_minus(text: str) -> str:
    """The text with minus signs for hyphens."""
    return text.replace("-", "−")


def number_text(value: float, digits: int = 2) -> str:
    """A number with so many decimals; ∞ where it is unbounded, n/a where it is unknown."""
    if math.isinf(value):
        return "∞" if value > 0 else "\N{MINUS SIGN}∞"
    # Adding 0 turns a rounded −0.00 into 0.00.
    return with_minus(f"{round(value, digits) + 0.0:.{digits}f}") if math.isfinite(value) else "n/a"


def interval_text(estimate: float, low: float, high: float, least: int = 0) -> str:
    """`−0.96 [−1.10, −0.82]`, with as many decimals as the interval's width can bear, and no fewer than `least`."""
    if not math.isfinite(estimate):
        return "not estimated"
    spread = high - low
    digits = max(least, decimals_for(spread) if math.isfinite(spread) else 2)
    if math.isnan(low) or math.isnan(high):
        return f"{number_text(estimate, digits)} (no interval)"
    return f"{number_text(estimate, digits)} [{number_text(low, digits)}, {number_text(high, digits)}]"


def in_powers(text: str) -> str:
    """A text with numbers as 3.3e+20 written as powers of ten, and minus signs for the hyphens of numbers."""
    found = r"(?<![\w.])(-?\d+(?:\.\d+)?)e([+-]?\d+)"
    return re.sub(found, lambda each: power_of_ten(float(each[0]), 3)[0], text)


def law(estimator: str) -> str:
    """The name of a fitted law: `routed law`, `joint law`; of one declared by its form just `law`."""
    return f"{word(estimator).removesuffix('law').strip()} law".strip()


def symbol(parameter: str) -> str:
    """A law's parameter as its paper writes it, where one letter names it; else its name in words."""
    return _SYMBOLS.get(parameter, _spaced(parameter))


def hue_label(column: str, values: Iterable[Any]) -> str:
    """The title of a legend's list of values: with the column's unit where they are numbers."""
    return name_of(column) if any(isinstance(value, str) for value in values) else label(column)


def claimed_region(predicted: float, margin: float, test: str) -> tuple[float, float]:
    """The values that a claim allows, by the region of its test."""
    return tests.claimed_region(test, float(predicted), margin)


def claim_text(predicted: float, margin: float, test: str) -> str:
    """What a claim allows in words: `0 ± 0.1`, `≤ −0.5`."""
    low, high = claimed_region(predicted, margin, test)
    if math.isinf(low):
        return with_minus(f"≤ {high:.3g}")
    if math.isinf(high):
        return with_minus(f"≥ {low:.3g}")
    return with_minus(f"{predicted:.3g} ± {margin:.3g}" if margin else f"{predicted:.3g}")


def decimals_for(spread: float) -> int:
    """Decimals that resolve a sixth of a spread or better: 2 for most exponents, never more than 4."""
    if spread <= 0:
        return 2
    return min(4, max(0 if spread > 40 else 1 if spread > 4 else 2, math.ceil(-math.log10(spread / 0.6)) + 1))


def power_of_two(exponent: float) -> str:
    """`2⁻⁶`, for half an octave `2⁻⁶·⁵`."""
    return f"2{_raised(f'{exponent:g}')}"


def tick_text(value: float) -> str:
    """A tick label: plain numbers from 0.001 to 10,000 and whole ones of five or six digits, powers beyond: `2×10⁵`.

    A number that was chosen is not rounded where its digits have room: 12800 and 65536, but 2×10⁵.
    """
    if 1e-3 <= abs(value) < 1e4 or value == 0:
        return with_minus(f"{value:.4g}")
    _, rounded = power_of_ten(value, 2)
    whole = abs(value) < 1e6 and value == round(value)
    return with_minus(f"{value:.0f}") if whole and rounded else power_of_ten(value, 3)[0]


def power_of_ten(value: float, digits: int) -> tuple[str, bool]:
    """`2.5×10⁷`, or `10⁷`, with at most so many digits, and whether that rounds the value."""
    lead, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    short = f"{float(lead):g}"
    head = "" if short == "1" else f"{with_minus(short)}×"
    head = "\N{MINUS SIGN}" if short == "-1" else head
    return f"{head}10{_raised(str(int(exponent)))}", float(f"{lead}e{exponent}") != value


def _setting_text(value: float) -> str:
    """A number that was chosen, with every digit that it has: powers of ten for those that would be long without."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if "e" in text:
        return power_of_ten(value, 6)[0]
    power, rounded = power_of_ten(value, 3) if abs(value) >= 1e6 and math.isfinite(value) else ("", True)
    return with_minus(text) if rounded else power


def _raised(number: str) -> str:
    return number.translate(str.maketrans("0123456789-.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·"))


def wrap(text: str, characters: int) -> list[str]:
    """Lines of at most so many characters, broken at spaces only: a no-break space keeps a clause together."""
    return textwrap.wrap(text, max(characters, 1), break_long_words=False, break_on_hyphens=False)


def stacked_label(text: str, characters: int) -> str:
    """A label on one line if it fits, else its unit on a second line, and longer names wrapped."""
    if len(text) <= characters:
        return text
    name, bracket, unit = text.partition(" (")
    return "\n".join([*textwrap.wrap(name, characters), *([f"({unit}"] if bracket else [])])
