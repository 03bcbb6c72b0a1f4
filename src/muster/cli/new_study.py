"""The command `new-study`: a commented study file to start from, made of the experiment's own example."""

import itertools
import math
import textwrap
from argparse import Namespace
from typing import Any

import yaml

from muster.config.load import load_config, nearest, reserved
from muster.config.models import FitConfig
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Example
from muster.files import write_text

ENOUGH = 5  # values of an axis, which the check `steady` wants
WIDTH = 95  # of the lines of a file, as far as they can be broken

TEMPLATE = """\
# yaml-language-server: $schema=../schema.json
# Check this file:          muster validate {name}
# See what it would run:    muster plan {name}
# Run it in seconds:        muster run {name} --scale smoke
# Run it to decide claims:  muster run {name}
study: {name}  # equals the file's name
title: One line for figures and the report
paper: "Authors, year, title"
slug: {name}  # the paper's short name: its headline claims are decided together
# Where the ledger shows the claims: width | depth | other_axes | largest_rate | features | initialization | dynamics |
# loss_law | compute
question: other_axes
description: >-
  Why this design can decide its claims: its range of sizes, its horizon, what it sweeps.
# {summary}
experiment: {experiment}

# Fields of every cell; the grid below may vary any of them.
settings:
{settings}

# Presets. A grid is a list of blocks; a block is the product of its axes; `seeds: 3` means seed 0, 1, 2.
{rule}scales:
  smoke: # seconds: runs everything, judges nothing
    settings: {smoke_settings}
    grid:
{smoke_grid}
  laptop: # minutes on 2 cores
    grid:
{grid}

# A fit reads one table (runs, curves, probes); `by` columns are fitted separately. See `muster list estimators`.
fits:
  exponent: {fit}
{difference}
# A claim is fixed before the run: prediction and margin decide the verdict, nobody else does. Uncomment and fill in:
claims: []
#  - claim: {name}-first
#    statement: The claim in one sentence, as the paper means it
#    source: Figure 1
#    provenance: paper  # abstract | paper | repository | derived | unconfirmed
#    asserts: exponent  # exact | exponent | limit | fit | comparison | empirical
#    stance: holds  # holds | fails: what the paper says | own: your extension, no headline | control | identity
#    criterion: paper  # measured as the paper does, or proxy: by a stand-in, which never refutes
#    fit: exponent
#    where: {where}  # one value for each `by` column of the fit
#    test: equivalence  # greater | less | interval | ordering | closed_form | regret | vector | reproduced
#    predicted: {predicted}
#    margin: 0.1
#    prediction_se: 0  # error of a predicted value that is itself an estimate
#    published: {{{along}: [1, 1000]}}  # what the authors ran: sizes, horizon, step of their grid
#    # What must hold for the test to be fair; a headline with two bounds needs one: `muster list checks`.
#    regime: [{regime}]{regime_meaning}
#    controls: []  # claims that must come out as known first
#    headline: true  # the default: one of the paper's headline claims; false: secondary, decided behind them
#    figure: first
{difference_claim}
# See `muster list plots`, and `muster show plot {plot}` for its options.
figures:
  first: {figure}
"""


RULE = """\
# Every parameterization, sp too, takes per-layer rates if no `rule` is named (full_alignment, or spectral where an
# optimizer steps whole matrices): sp as it is commonly run, with one global rate, is `rule: constant`.
"""

DIFFERENCE = """\
#  # a − b of two groups, paired over {along}. Uncomment it for the second claim:
#  difference: {fit}
"""

DIFFERENCE_CLAIM = """\
#  - claim: {name}-difference
#    statement: The best rate falls faster in group a of the fit than in group b
#    source: Figure 1
#    provenance: paper
#    asserts: comparison
#    fit: difference
#    test: less  # a − b lies below `predicted`; greater: above; equivalence with a margin: they are alike
#    predicted: 0
#    headline: false
#    figure: first
"""


def new_study(args: Namespace) -> None:
    """Write a study file that validates and runs as it stands, with comments that say what to change."""
    if args.experiment not in EXPERIMENTS:
        raise MusterError("--experiment", f"unknown name {args.experiment!r}", nearest(args.experiment, EXPERIMENTS))
    words = args.name.split("-")
    if not all(word.isascii() and word.isalnum() and word == word.lower() for word in words):
        raise MusterError("NAME", f"found {args.name!r}", "Allowed: lower-case letters and digits, words joined by -")
    groups = load_config(args.config).groups if args.config.exists() else {}
    if taken := reserved(args.name) or (f"names a group of {args.config}" if args.name in groups else ""):
        raise MusterError("NAME", f"{args.name!r} {taken}", "Choose another name")
    path = args.config.parent / "studies" / f"{args.name}.yaml"
    if path.exists():
        raise MusterError(str(path), "exists already", "Choose another name, or edit the file")
    write_text(path, study_text(args.name, args.experiment))
    print(f"{path}: edit it, then: muster validate {args.name}")


def study_text(name: str, experiment: str) -> str:
    """A study file with the experiment's example in it. Raises MusterError for an experiment that has none."""
    entry = EXPERIMENTS[experiment]
    example = entry.example
    if example is None:
        remedy = f"Start from one of: {', '.join(e for e in EXPERIMENTS if EXPERIMENTS[e].example)}"
        raise MusterError("--experiment", f"{experiment!r} has no example", remedy)
    fields = entry.cell.model_fields
    along = example.fit.get("along", FitConfig.model_fields["along"].default)
    grid = [_finer(block, along) for block in example.grid]
    steady = any(len(block.get(along, ())) >= ENOUGH for block in grid)
    regime = {"check": "steady", "axis": along} if steady else {"check": "inside", "column": along}
    difference = _difference(example)
    settings = [_setting(key, value, fields[key].description or key) for key, value in example.settings.items()]
    return TEMPLATE.format(
        name=name,
        experiment=experiment,
        summary=entry.summary,
        settings="\n".join([*settings, *example.hints.splitlines()]),
        smoke_settings=_flow(example.smoke),
        smoke_grid=_blocks(_smoke_grid(example)),
        rule=RULE if "rule" in fields and fields["rule"].default == "full_alignment" else "",
        grid=_blocks(grid),
        fit=_flow(example.fit, indent=12),
        where=_flow(example.where),
        difference=DIFFERENCE.format(along=along, fit=_flow(difference, 14, "#")) if difference else "",
        difference_claim=DIFFERENCE_CLAIM.format(name=name) if difference else "",
        along=along,
        regime=_flow(regime),
        regime_meaning="" if steady else f"  # of an exponent better `steady`, from {ENOUGH} values of {along} on",
        predicted=f"{example.predicted:g}",
        plot=example.figure["plot"],
        figure=_flow({**example.figure, "fit": "exponent"}),
    )


def _finer(block: dict[str, Any], along: str) -> dict[str, Any]:
    """A block of the grid with values between those of an axis, where it has fewer than `steady` wants and room."""
    values = block.get(along)
    if not isinstance(values, list) or len(values) >= ENOUGH:
        return block
    middle = [math.sqrt(one * other) for one, other in itertools.pairwise(values)]
    whole = all(isinstance(value, int) for value in values)
    between = [round(value) if whole else float(f"{value:.2g}") for value in middle]
    finer = sorted({*values, *between})
    return {**block, along: finer} if len(finer) == len(values) + len(between) else block


def _difference(example: Example) -> dict[str, Any]:
    """A fit of the difference between the example's groups of a learning-rate exponent; empty if it has none."""
    by = example.fit.get("by", ())
    if example.fit["estimator"] != "lr_transfer" or not by:
        return {}
    listed = [[value if isinstance(value, list) else [value] for value in map(block.get, by)] for block in example.grid]
    groups = [dict(zip(by, values, strict=True)) for lists in listed for values in itertools.product(*lists)]
    other = next(group for group in groups if group != example.where)
    fit = {name: value for name, value in example.fit.items() if name != "by"}
    return {**fit, "estimator": "lr_transfer_difference", "options": {"a": other, "b": example.where}}


def _smoke_grid(example: Example) -> list[dict[str, Any]]:
    if example.smoke_grid is not None:
        return example.smoke_grid
    return [{**block, "seeds": 1} if "seeds" in block else block for block in example.grid]


def _blocks(grid: list[dict[str, Any]]) -> str:
    return "\n".join(f"      - {_flow(block, indent=9)}" for block in grid)


def _setting(key: str, value: Any, meaning: str) -> str:
    """A setting with its meaning: behind it, or above it where a line does not hold both."""
    text = _dump({key: value}, flow=True, width=10**6)[1:-1]
    if len(f"  {text}  # {meaning}") <= WIDTH:
        return f"  {text}  # {meaning}"
    if len(text) > WIDTH:
        text = _dump({key: value}, flow=False, width=WIDTH).replace("\n", "\n  ")
    comment = textwrap.wrap(meaning, WIDTH, initial_indent="  # ", subsequent_indent="  # ")
    return "\n".join([*comment, f"  {text}"])


def _flow(value: Any, indent: int = 0, sign: str = "") -> str:
    """A value in YAML's flow style; lines after the first are indented, behind a sign such as that of a comment."""
    return _dump(value, flow=True, width=WIDTH - indent).replace("\n", "\n" + sign + " " * indent)


def _dump(value: Any, flow: bool, width: int) -> str:
    text = yaml.safe_dump(value, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=width)
    return text.rstrip()
