"""index.html: the ledger for a browser, one file that needs neither a server nor a network.

What is shown goes into the file as JSON; `template.html` beside this module holds style and script, which put every
text on the page as text. A policy in the page lets no other script run and nothing be loaded but figures beside it.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from muster.claims.families import part_of
from muster.claims.page import QUESTIONS, UNASKED, Row, figure_file, legend, prediction_text, tally
from muster.claims.tests import FAILED, TOWARDS, UNCHECKED, UNKNOWN, UNMEASURED, VERDICTS, Condition, conditions, region
from muster.config.models import ClaimConfig, StudyConfig
from muster.experiments import EXPERIMENTS

SHOWN = ("claim", "study", "paper", "statement", "source", "provenance", "asserts", "stance", "criterion", "test",
         "n_cells", "n_runs", "verdict", "agrees", "same_as", "reason", "scale")  # texts, as they stand  # fmt: skip
NUMBERS = ("estimate", "se", "dof", "ci_low", "ci_high", "p_support", "p_refute", "p_adjusted")
REGIMES = ("met", "failed", "not checked", "none declared")
FARTHEST = 6  # margins from the middle of a region that its drawing shows at most
SPECIFICATION = "specification_curve"
# What a claim was measured on, where no network is trained here: by stage of the study's experiment.
MEASURED_ON = {"import": "published runs", "command": "own trainer", "sample": "sampled model"}
_CHECK = re.compile(r"(.*) (\S+) in \[(\S+), (\S+)\]")


def html(
    rows: Sequence[Row],
    q: Mapping[str, float],
    false: float,
    studies: Mapping[str, StudyConfig],
    texts: Mapping[str, str],
    shown: Mapping[str, str] | None = None,
) -> str:
    """The page of a ledger. Same arguments, same bytes.

    q, false, shown: as in `muster.claims.page.markdown`. studies: name → study. texts: name → its file's text.
    """
    asked = {name: study.question for name, study in studies.items()}
    named = {row["study"] for row in rows}
    content = {
        "rows": [_row(row, q, studies.get(row["study"]), shown) for row in rows],
        "studies": {name: _study(name, studies, texts, shown) for name in sorted(named)},
        "questions": _questions(rows, asked),
        "verdicts": [verdict for verdict in VERDICTS if any(row["verdict"] == verdict for row in rows)],
        "regimes": REGIMES,
        "tally": _counted(rows),
        "legend": [re.sub(r"[*`]", "", line) for line in legend(false) if line],
    }
    template, script = _template()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_digest(script)}'; img-src 'self' file: data:"
    )
    return template.replace("@POLICY@", policy).replace("@DATA@", as_script(content))


@cache
def _template() -> tuple[str, str]:
    """The template and the script within it."""
    text = resources.files("muster.claims").joinpath("template.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    return text, script


def template_digest() -> str:
    """What a page depends on beside code and arguments."""
    return hashlib.sha256(_template()[0].encode()).hexdigest()


def _digest(script: str) -> str:
    """A script as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def as_script(content: object) -> str:
    """JSON for within a `script` element: nothing in it can end the element, or begin a comment there."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _row(
    row: Row, q: Mapping[str, float], study: StudyConfig | None, shown: Mapping[str, str] | None
) -> dict[str, Any]:
    claim = next((each for each in study.claims if each.claim == row["claim"]), None) if study else None
    found = conditions(row["regime"])
    numbers = {name: _finite(row[name]) for name in NUMBERS}
    return {
        **{name: row[name] for name in SHOWN},
        **{name: value for name, value in numbers.items() if value is not None},
        "part": part_of(row),
        "measured": measured_on(study, claim) if study else [],
        "question": (study.question if study else None) or "",
        "predicted": prediction_text(row).replace("-", "−"),
        "ends": [_told(end) for end in (row["ci_low"], row["ci_high"])],
        "q": _finite(q.get(row["claim"], math.nan)),
        "drawn": drawing(row),
        "regime": regime_state(found),
        "conditions": [_condition(each) for each in found],
        "figure": figure_file(row["figure"], shown),
        "named": row["figure"].removeprefix("figures/").removesuffix(".svg"),
        "curve": figure_file(_curve(study, claim), shown) if study and claim else "",
        "redo": redo(row),
    }


def measured_on(study: StudyConfig, claim: ClaimConfig | None = None) -> list[str]:
    """Families of networks that a study trains, those of a claim's fit if it selects some; else one of MEASURED_ON."""
    if study.experiment not in EXPERIMENTS:  # of a plug-in that is not installed here
        return []
    experiment = EXPERIMENTS[study.experiment]
    field = experiment.cell.model_fields.get("family")
    if field is None:
        return [MEASURED_ON[experiment.stage]] if experiment.stage in MEASURED_ON else []
    blocks = [block for scale in study.scales.values() for block in scale.grid]
    settings = [scale.settings for scale in study.scales.values()]
    chosen: list[Any] = [each["family"] for each in (study.settings, *settings, *blocks) if "family" in each]
    if claim and "family" in study.fits[claim.fit].select:
        chosen = [study.fits[claim.fit].select["family"]]
    listed = [name for each in chosen or [field.default] for name in (each if isinstance(each, list) else [each])]
    return sorted(set(map(str, listed)))


def redo(row: Row) -> list[str]:
    """The commands that make a row again, the figure that shows it last."""
    commands = [f"muster run {row['study']} --scale {row['scale']}", f"muster show claim {row['claim']}"]
    return [*commands, f"snakemake --cores 2 results/{row['scale']}/{row['figure']}"] if row["figure"] else commands


def _curve(study: StudyConfig, claim: ClaimConfig) -> str:
    """The ledger's name of the specification curve of a claim's own number; empty if the study draws none."""
    for name, figure in study.figures.items():
        options = figure.options
        same = (figure.plot, figure.fit, options.get("where", {})) == (SPECIFICATION, claim.fit, claim.where)
        if same and claim.parameter in (None, options.get("parameter")):
            return f"figures/{study.study}/{name}.svg"
    return ""


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _told(end: float) -> str:
    """An end of an interval, as a reader would write it; empty where there is none."""
    if math.isnan(end):
        return ""
    return f"{end:.3g}".replace("inf", "∞").replace("-", "−")


def regime_state(found: Sequence[Condition]) -> str:
    """How the conditions of a row came out together: one of REGIMES; a missing measurement is no condition."""
    outcomes = [each.outcome for each in found if each.outcome != UNMEASURED]
    if any(outcome in (FAILED, TOWARDS, UNKNOWN) for outcome in outcomes):
        return "failed"
    if UNCHECKED in outcomes:
        return "not checked"
    return "met" if outcomes else "none declared"


def _condition(each: Condition) -> dict[str, str]:
    """A condition with its value and the bounds that it must lie in, where it has any."""
    found = _CHECK.fullmatch(each.what)
    what, value, low, high = found.groups() if found else (each.what, "", "", "")
    bounds = f"[{low}, {high}]" if found else ""
    blocks = "refuted only" if each.refuted_only else ""
    return {
        "what": what,
        "value": value,
        "bounds": bounds,
        "outcome": each.outcome,
        "blocks": blocks,
        "note": each.note,
    }


def drawing(row: Row) -> dict[str, Any] | None:
    """Region, prediction, interval and estimate on an axis of their own, in percent of its length; None without number.

    The axis is centred on the region, or on its only bound, and reaches as far as estimate and interval do, but no more
    than FARTHEST margins. An arrow is needed where the region is unbounded (`open`), where an end of the interval lies
    beyond the axis, as infinite ones do (`beyond`), and where the estimate does (`off`: 0 below, 1 above).
    """
    estimate, ends = float(row["estimate"]), (float(row["ci_low"]), float(row["ci_high"]))
    if math.isnan(estimate):
        return None
    low, high = region(row)
    bounds = [bound for bound in (low, high) if math.isfinite(bound)]
    if not bounds:
        return None
    centre, margin = sum(bounds) / len(bounds), float(row["margin"])
    seen = [*bounds, *(value for value in (estimate, *ends, float(row["predicted"])) if math.isfinite(value))]
    reach = max(abs(value - centre) for value in seen)
    if margin > 0:
        reach = max(min(reach, FARTHEST * margin), 1.5 * margin)
    reach = 1.1 * reach or 1.0

    def at(value: float) -> float:
        return round(min(max(50 + 50 * (value - centre) / reach, 0.0), 100.0), 1)

    ends_known = not any(map(math.isnan, ends))
    return {
        "region": [at(low), at(high)],
        "open": [math.isinf(low), math.isinf(high)],
        "predicted": at(float(row["predicted"])),
        "estimate": at(estimate) if abs(estimate - centre) <= reach else None,
        "interval": [at(end) for end in ends] if ends_known else None,
        "beyond": [ends_known and ends[0] < centre - reach, ends_known and ends[1] > centre + reach],
        "off": None if abs(estimate - centre) <= reach else int(estimate > centre),
    }


def _study(
    name: str, studies: Mapping[str, StudyConfig], texts: Mapping[str, str], shown: Mapping[str, str] | None
) -> dict[str, Any]:
    """What the page tells of a study. Its figures: all that are known to be shown."""
    study = studies.get(name)
    figures = [f"../{file}" for figure, file in sorted((shown or {}).items()) if figure.startswith(f"figures/{name}/")]
    return {"title": study.title if study else name, "description": study.description if study else "",
            "text": texts.get(name, ""), "figures": figures}  # fmt: skip


def _questions(rows: Sequence[Row], asked: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """Each question with its facts counted, in the ledger's order."""
    found = []
    for name, title in (*QUESTIONS.items(), ("", UNASKED)):
        chosen = [row for row in rows if (asked.get(row["study"]) or "") == name]
        if chosen:
            found.append({"name": name, "title": title, **_counted(chosen)})
    return found


def _counted(rows: Sequence[Row]) -> dict[str, Any]:
    counted = tally(rows)
    return {"agree": counted.agree, "contradict": counted.contradict, "open": sum(counted.open.values()),
            "reasons": counted.reasons}  # fmt: skip
