"""Commands that show and change nothing but config/schema.json."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muster.cli.parser import SHOWN
from muster.cli.printing import print_example, print_options, print_table
from muster.cli.scope import configuration, planned
from muster.config.load import load_config, load_studies, load_study, nearest_or_part, parse_value, study_paths
from muster.config.models import PUBLISHED, Config, StudyConfig
from muster.config.shipped import shipped
from muster.digests import canonical
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS
from muster.plan.grid import plan_study
from muster.plan.plan import Plan
from muster.plan.study import StudyPlan
from muster.registry import REGISTRIES, find_registry

REFERENCE_RATE = 8.2e10  # FLOP/s of a 512³ product in float32 on the core that costs were fitted on
# Seconds there that a job costs beside its work, forked from a process that is warm (.42 each in the group core).
JOB_OVERHEAD = 0.5
VALUES = "different values (no product: blocks are a union)"  # nobody shall multiply them to the number of runs


def list_entries(args: Namespace) -> None:
    """The kinds, or one kind's entries with a line each."""
    args.config = shipped(args.config)
    if args.kind is None:
        print("muster list KIND, with KIND one of:")
        print("\n".join(f"  {kind}" for kind in ("studies", "claims", *REGISTRIES)))
    elif args.kind == "studies":
        studies = _studies(args.config)
        print_table([(name, f"{len(s.claims)} claims", ", ".join(s.scales), s.title) for name, s in studies.items()])
    elif args.kind == "claims":
        claims = [(c.claim, name, c.statement) for name, s in _studies(args.config).items() for c in s.claims]
        print_table(claims)
    else:
        print_table(list(find_registry(args.kind).summary().items()))


def _studies(config: Path) -> dict[str, StudyConfig]:
    """The studies that can be read; what cannot is said on stderr."""
    studies = load_studies(config)
    for error in studies.broken.values():
        print(f"left out: {error}", file=sys.stderr)
    return studies.known


def show(args: Namespace) -> None:
    """Dispatch on what is shown."""
    args.config = shipped(args.config)
    kind = SHOWN[args.what]
    if kind and not args.name:
        raise MusterError(args.what, "no name given", f"List names with: muster list {kind}")
    own = globals().get(f"_show_{args.what}")
    if own is not None:
        own(args)
    elif kind:
        from muster.cli.entries import show_entry

        show_entry(kind, args.name, load_studies(args.config).known)


def _show_study(args: Namespace) -> None:
    paths = study_paths(args.config)
    if args.name not in paths:
        raise MusterError("study", f"unknown name {args.name!r}", nearest_or_part(args.name, paths))
    study = load_study(paths[args.name])
    print(f"{study.study}: {study.title}\n{study.paper}\n\n{study.description}".rstrip())
    print(f"\nexperiment  {study.experiment}\nfile        {paths[args.name]}")
    for scale in study.scales:
        plan = plan_study(study, scale, seeds=args.seeds, path=paths[args.name])
        print(f"{scale:<10}  {len(plan.cells)} cells, {_runs(plan)} runs, keys {', '.join(plan.keys[1:])}")
    for experiment, cell in {c.cell.label: (EXPERIMENTS[c.experiment], c.cell) for c in plan.cells}.values():
        if facts := experiment.describe(cell):
            print(f"\n{cell.label}")
            print_table([("", what, value) for what, value in facts])
    print("\nfits")
    print_table(
        [
            ("", name, fit.estimator, f"{fit.response} along {fit.along}", f"by {', '.join(fit.by) or '–'}")
            for name, fit in study.fits.items()
        ]
    )
    print("\nclaims")
    print_table([("", c.claim, f"{c.test} {c.predicted:g} ± {c.margin:g}", c.statement) for c in study.claims])
    print("\nfigures")
    print_table([("", name, figure.plot) for name, figure in study.figures.items()])


def _show_claim(args: Namespace) -> None:
    from muster.claims.conditions import clusters_told, label, primary_row
    from muster.claims.ledger import read_ledger, rows_of
    from muster.claims.page import estimate_text
    from muster.tables.io import read_frame

    claims = {c.claim: (study, c) for study in _studies(args.config).values() for c in study.claims}
    if args.name not in claims:
        raise MusterError("claim", f"unknown name {args.name!r}", nearest_or_part(args.name, claims))
    study, claim = claims[args.name]
    fit = study.fits[claim.fit]
    where = ", ".join(f"{column} {value}" for column, value in claim.where.items())
    measured = f"fit {claim.fit}: {fit.estimator} of {fit.response} along {fit.along}"
    rows = [
        ("study", f"{study.study} ({study.paper})"),
        ("statement", claim.statement),
        ("source", f"{claim.source} ({claim.provenance})"),
        ("measured by", f"{measured}, where {where}" if where else measured),
        ("asserts", f"{claim.asserts}; stance {claim.stance}, criterion {claim.criterion}"),
        ("decided by", f"test {claim.test}, predicted {claim.predicted:g}, margin {claim.margin:g}"),
        ("if", ", ".join([*map(label, claim.regime), *(f"{name} as known" for name in claim.controls)]) or "–"),
        ("figure", claim.figure or "–"),
    ]
    print_table(rows)
    config = load_config(args.config, {"scale": args.scale} if args.scale else {})
    for folder in (Path(config.results), shipped(PUBLISHED)):
        ledger = folder / "ledger"
        for found in rows_of(read_ledger(ledger)) if ledger.exists() else []:
            if found["claim"] == claim.claim:
                said = f"{found['verdict']} at scale {found['scale']}: {found['reason']}"
                print_table([("verdict", said, f"({ledger / 'LEDGER.md'})")])
                if found["n_cells"]:
                    counted = f"{found['n_cells']} cells, {found['n_runs']} runs"
                    print_table([("", "estimate [95 % interval]", f"{estimate_text(found)} ({counted})")])
                print_table([("", "agrees with the paper" if each == "agrees" else each, found[each])
                             for each in ("agrees", "regime", "family") if found[each]])  # fmt: skip
                fits = folder / "fits" / study.study / "fits.parquet"
                row = primary_row(claim, read_frame(fits)) if fits.exists() else None
                if row is not None and (told := clusters_told(row, fit)):
                    print_table([("", "fit", told)])


def _show_machine(args: Namespace) -> None:
    """What cells train with on this machine; compiles the kernels where that has not been done yet."""
    import torch

    from muster import native
    from muster.native import build

    found = native.status()
    rows = [
        ("processor", f"{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("CUDA", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"),
        ("compiler", build.compiler() or "none: install g++ or clang++, or set CXX"),
        ("flags", " ".join((*build.FLAGS, build.CPU))),
    ]
    if found.kernels:
        rows += [("kernels", f"on, {found.kernels.lanes} floats a vector"), ("library", str(found.kernels.path))]
    else:
        rows.append(("kernels", f"off: {found.reason}"))
    print_table(rows)


def _show_experiment(args: Namespace) -> None:
    """What an experiment does, and every setting that a study may give it."""
    experiment = EXPERIMENTS[args.name]
    users = [name for name, study in load_studies(args.config).known.items() if study.experiment == args.name]
    rows = [
        ("does", experiment.summary),
        ("stage", experiment.stage),
        ("studies", ", ".join(users) or "none"),
        ("a draft", f"muster new-study NAME --experiment {args.name}"),
    ]
    print_table(rows)
    print_options("settings: one value in `settings`, several in `grid`", experiment.cell)


def _show_estimator(args: Namespace) -> None:
    """What an estimator returns, needs, assumes, how it fails, and how a study names it."""
    from muster.cli.example_fit import example_fit
    from muster.fitting.base import ESTIMATORS

    estimator = ESTIMATORS[args.name]
    rows = [
        ("estimates", estimator.summary),
        ("parameters", ", ".join(estimator.parameters) or "those that the fit's options name"),
        ("variants", ", ".join(estimator.variants)),
        ("source", estimator.source),
        ("assumes", estimator.assumes),
        ("fails", estimator.fails),
    ]
    print_table(rows)
    print_options("options", estimator.options)
    print_example({"fits": {"my_fit": example_fit(args.name, estimator)}})


def _show_check(args: Namespace) -> None:
    """What a regime check computes, what its failure forbids, and its options."""
    from muster.claims.regime.base import REGIME_CHECKS

    check = REGIME_CHECKS[args.name]
    forbids = "any verdict" if check.blocks == "both" else "`refuted` alone"
    rows = [("checks", check.summary), ("source", check.source), ("fails", check.fails), ("forbids", forbids)]
    print_table(rows)
    print_options("options", check.options)


def _show_plot(args: Namespace) -> None:
    """What a plot draws, its options, and how a study names it."""
    import inspect

    from muster.plots import PLOTS

    plot = PLOTS[args.name]
    print(inspect.cleandoc(plot.__doc__))
    print_options("options", plot.options)
    users = [(study.study, name, figure) for study in load_studies(args.config).known.values()
             for name, figure in study.figures.items() if figure.plot == args.name]  # fmt: skip
    if users:
        study, name, figure = max(users, key=lambda user: len(user[2].options))
        print_example({"figures": {name: figure.model_dump(exclude_defaults=True)}}, f"as in {study}")
    else:
        print_example({"figures": {"NAME": {"plot": args.name, "fit": "FIT"}}})


def _own_shapes(args: Namespace) -> None:
    """The same for the tensors of somebody's own network."""
    from muster.api.parameters import load_build, show_parameterization

    rules = {name: value for name in ("epsilon_rule", "decay_rule") if (value := getattr(args, name)) is not None}
    found = show_parameterization(
        args.name, load_build(args.shapes), args.width, args.base_width, optimizer=args.optimizer, rule=args.rule,
        lr=args.lr, eps=1e-8 if args.eps is None else args.eps, weight_decay=args.weight_decay, **rules,
    )  # fmt: skip
    print(found.summary())


def _show_parameterization(args: Namespace) -> None:
    """What is applied to each tensor of a network of the given size, as users of mup ask."""
    if args.shapes:
        _own_shapes(args)
        return
    from pydantic import ValidationError

    from muster.config.load import problems
    from muster.models import SHAPES
    from muster.optimizers import OPTIMIZERS
    from muster.parameterizations import (
        MATRIX_RULES,
        PARAMETERIZATIONS,
        branch_multiplier,
        effective_table,
        render_table,
        shape_ratios,
        step_in_words,
        unfit_rule,
    )
    from muster.training.cell import TrainCell, factors, tensors

    table = PARAMETERIZATIONS[args.name]
    shape = SHAPES[args.family]
    named = ("optimizer", "rule", "width", "base_width", "depth", "base_depth", "data", "family", "norm", "bias",
             "branch_exponent", "block_layers", "epsilon_rule", "decay_rule", "weight_decay")  # fmt: skip
    given = {name: value for name in named if (value := getattr(args, name)) is not None}
    given |= {"epsilon": args.eps} if args.eps is not None else {}
    settings = {"parameterization": args.name, "seed": 0, "steps": 1, "log2_lr": [0.0], **shape.example, **given}
    settings |= _assigned(args.set)
    try:
        cell = TrainCell.model_validate(settings)
    except ValidationError as error:
        raise problems(error, TrainCell, settings, Path("muster show parameterization"))[0] from None
    trained = tensors(cell)
    width_ratio, depth_ratio = shape_ratios(cell)
    optimizer = OPTIMIZERS[cell.optimizer]
    if wrong := unfit_rule(optimizer.update, cell.rule):
        raise MusterError("rule", wrong, f"Set rule to {' or '.join(MATRIX_RULES)}")
    rows = effective_table(
        args.name,
        optimizer.update,
        cell.rule,
        trained,
        width_ratio,
        args.lr,
        eps=cell.epsilon,
        weight_decay=cell.weight_decay,
        depth_ratio=depth_ratio,
        alpha=cell.branch_exponent,
        epsilon_rule=cell.epsilon_rule,
        decay_rule=cell.decay_rule,
        factors=factors(cell),
    )
    print(table.summary)
    base = "no base shape" if table.unit else f"base {cell.base_width} × {cell.base_depth} (where it equals sp)"
    print(f"family {cell.family}, width {cell.width}, depth {cell.depth}, {base}")
    print(f"{cell.optimizer}, rule {cell.rule}, epsilon_rule {cell.epsilon_rule}, decay_rule {cell.decay_rule}")
    update, decay = optimizer.update, "decoupled" if optimizer.decoupled_decay else "coupled"
    print(f"its steps ∝ lr·{step_in_words(update)}, its weight decay is {decay}")
    if any(tensor.branch for tensor in trained):
        print(f"residual branches × {branch_multiplier(cell):.4g}")
    print(f"\n{render_table(rows)}")
    print("\nW = (W/w)·w acts in the network, w is trained; a, b, g: powers of 1/n in W/w, std(w), gradient of w")
    print("n: width, L: depth, over the base shape" if not table.unit else "n: fan-in, L: depth, both absolute")
    for note in table.notes:
        print(f"- {note}")


def _assigned(texts: Sequence[str]) -> dict[str, Any]:
    """Settings written as NAME=VALUE, a value as in YAML. Raises MusterError for another form."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise MusterError("--set", f"found {text!r}", "Write NAME=VALUE")
        found[name] = parse_value(value, f"--set {name}")
    return found


def _show_dataset(args: Namespace) -> None:
    from muster.data import describe

    facts = describe(args.name)
    options = facts.pop("options")
    print_table(list(facts.items()))
    print("\noptions")
    print_table([("", name, f"default {o['default']}", o["meaning"] or "") for name, o in options.items()])


def _show_config(args: Namespace) -> None:
    """config.yaml with its defaults and the replaced fields, as JSON (which is YAML)."""
    print(json.dumps(configuration(args).model_dump(), indent=2))


def plan(args: Namespace) -> None:
    """Cells, runs, FLOPs and time of each study; or every cell."""
    found = planned(args)
    if args.json:
        print("\n".join(cell.text for cell in found.cells.values()))
    elif args.cells:
        print_table([("cell", "members", "GFLOP", "seconds"), *(_cell_row(cell) for cell in found.cells.values())])
    else:
        _print_plan(found, found.config, args.cores or os.cpu_count() or 1)


def _cell_row(cell: Any) -> tuple[str, ...]:
    cost = cell.cost
    return (cell.key, str(cell.members), f"{cost.flops / 1e9:.3g}", f"{cost.seconds:.3g}")


def _print_plan(found: Plan, config: Config, cores: int) -> None:
    speed = _speed(cores)
    overhead = JOB_OVERHEAD / speed
    rows: list[tuple[str, ...]] = [
        ("study", "experiment", "cells", "runs", "FLOP", f"time on {cores} cores", "GPU-hours", VALUES)
    ]
    for name, study in found.studies.items():
        rows.append(_plan_row(name, study, cores, overhead, speed))
    print(f"scale {config.scale}")
    print_table(rows)
    cells = list(found.cells.values())
    seconds = sum(cell.cost.seconds for cell in cells) / speed + overhead * len(cells)
    shared = sum(len(study.cells) for study in found.studies.values()) - len(cells)
    datasets = ", ".join(found.datasets) or "none"
    print(f"\n{len(cells)} cells ({shared} shared between studies), data sets: {datasets}")
    print(f"about {duration(seconds / cores)} on {cores} cores, before anything is found done")
    if gpu := sum(cell.cost.gpu_seconds for cell in cells):
        most = max(cell.cost.gpu_memory_bytes for cell in cells)
        print(
            f"or what trains there about {_gpu_hours(gpu)} GPU-hours of an NVIDIA A100, reckoned from its data sheet, "
            f"at most {most / 1e9:.1f} GB of its memory"
        )


def _plan_row(name: str, study: StudyPlan, cores: int, overhead: float, speed: float) -> tuple[str, ...]:
    total = study.total
    seconds = (total.seconds / speed + overhead * len(study.cells)) / cores
    axes = []
    for axis in (*study.cell_axes, *study.member_axes):
        values = {v for cell in study.cells for v in _values(getattr(cell.cell, axis))}
        if len(values) > 1:
            axes.append(f"{axis} {len(values)}")
    return (
        name,
        study.study.experiment,
        str(len(study.cells)),
        _runs(study),
        f"{total.flops:.2g}",
        duration(seconds),
        _gpu_hours(total.gpu_seconds),
        ", ".join(axes),
    )


def _gpu_hours(seconds: float) -> str:
    """Two digits; nothing where a GPU does not help."""
    return f"{seconds / 3600:.2g}" if seconds else "–"


def _runs(study: StudyPlan) -> str:
    """How many runs a study has; only its tables can tell where the experiment brings them."""
    return "?" if study.run_keys else str(sum(cell.members for cell in study.cells))


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [canonical(value) if isinstance(value, dict) else value]


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _speed(cores: int) -> float:
    """Rate of single-precision matrix products on each of so many cores, all busy, relative to the one core that costs
    were fitted on: two that share their units are not twice as fast as one."""
    import time
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from threadpoolctl import threadpool_limits

    size, repeats = 512, 30
    matrix = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)

    def seconds(_: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            matrix @ matrix
        return (time.perf_counter() - start) / repeats

    with threadpool_limits(1), ThreadPoolExecutor(cores) as threads:
        taken = list(threads.map(seconds, range(2 * cores)))
    return 2 * size**3 / (sum(taken) / len(taken)) / REFERENCE_RATE


def schema(args: Namespace) -> None:
    """Write the JSON schema."""
    from muster.config.schema import render
    from muster.files import write_text

    if str(args.output) == "-":
        print(render(), end="")
    else:
        write_text(args.output, render())
        print(args.output)
