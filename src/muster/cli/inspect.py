"""Commands that show and change nothing but config/schema.json."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from muster.config.load import load_config, load_study, nearest, study_paths
from muster.config.models import Config, StudyConfig
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS
from muster.plan import Plan, StudyPlan, canonical, make_plan, plan_study
from muster.registry import REGISTRIES, find_registry

REFERENCE_RATE = 8.2e10  # FLOP/s of a 512³ product in float32 on the core that costs were fitted on
JOB_OVERHEAD = 3.0  # seconds there that a job costs beside its work: starting Python, importing torch, writing tables


def list_entries(args: Namespace) -> None:
    """The kinds, or one kind's entries with a line each."""
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
    return {name: load_study(path) for name, path in study_paths(config).items()}


def print_table(rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns, the last one free."""
    texts = [[str(part) for part in row] for row in rows]
    if not texts:
        print("none")
        return
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    widths[-1] = 0
    for row in texts:
        print("  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip())


def show(args: Namespace) -> None:
    """Dispatch on what is shown."""
    if args.what not in ("config", "machine") and args.name is None:
        raise MusterError(
            f"muster show {args.what}", "no name given", "List names with: muster list " + _plural(args.what)
        )
    {
        "study": _show_study,
        "claim": _show_claim,
        "parameterization": _show_parameterization,
        "dataset": _show_dataset,
        "estimator": _show_estimator,
        "config": _show_config,
        "machine": _show_machine,
    }[args.what](args)


def _plural(what: str) -> str:
    return "studies" if what == "study" else f"{what}s"


def _show_study(args: Namespace) -> None:
    paths = study_paths(args.config)
    if args.name not in paths:
        raise MusterError("study", f"unknown name {args.name!r}", nearest(args.name, paths))
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
    claims = {c.claim: (study, c) for study in _studies(args.config).values() for c in study.claims}
    if args.name not in claims:
        raise MusterError("claim", f"unknown name {args.name!r}", nearest(args.name, claims))
    study, claim = claims[args.name]
    fit = study.fits[claim.fit]
    rows = [
        ("study", f"{study.study} ({study.paper})"),
        ("statement", claim.statement),
        ("source", f"{claim.source} ({claim.provenance})"),
        ("measured by", f"fit {claim.fit}: {fit.estimator} of {fit.response} along {fit.along}, where {claim.where}"),
        ("decided by", f"test {claim.test}, predicted {claim.predicted:g}, margin {claim.margin:g}"),
        ("figure", claim.figure or "–"),
    ]
    print_table(rows)
    ledger = Path(load_config(args.config).results) / "ledger" / "claims.json"
    if ledger.exists():
        found = [row for row in json.loads(ledger.read_text(encoding="utf-8")) if row["claim"] == claim.claim]
        for row in found:
            print_table([("verdict", f"{row['verdict']} at scale {row['scale']}: {row['reason']}")])


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
    if found.library:
        rows += [("kernels", f"on, {found.library.lanes} floats a vector"), ("library", str(found.library.path))]
    else:
        rows.append(("kernels", f"off: {found.reason}"))
    print_table(rows)


def _show_estimator(args: Namespace) -> None:
    """What an estimator returns, needs, assumes, and how it fails."""
    from muster.fitting import ESTIMATORS

    estimator = ESTIMATORS[args.name]
    rows = [
        ("estimates", estimator.summary),
        ("parameters", ", ".join(estimator.parameters)),
        ("variants", ", ".join(estimator.variants)),
        ("source", estimator.source),
        ("assumes", estimator.assumes),
        ("fails", estimator.fails),
    ]
    print_table(rows)
    print("\noptions")
    print_table([("", name, option.description or "") for name, option in estimator.options.model_fields.items()])


def _show_parameterization(args: Namespace) -> None:
    """What is applied to each tensor of a network of the given size, as users of mup ask."""
    from pydantic import ValidationError

    from muster.config.load import problems
    from muster.parameterizations import (
        PARAMETERIZATIONS,
        branch_multiplier,
        effective_table,
        render_table,
        shape_ratios,
    )
    from muster.training.train import TrainCell, tensors

    table = PARAMETERIZATIONS[args.name]
    named = ("optimizer", "rule", "width", "base_width", "depth", "base_depth", "data", "family", "norm", "bias",
             "branch_exponent", "block_layers", "epsilon_rule", "decay_rule")  # fmt: skip
    given = {name: value for name in named if (value := getattr(args, name)) is not None}
    settings = {"parameterization": args.name, "seed": 0, "steps": 1, "log2_lr": [0.0], **given}
    try:
        cell = TrainCell.model_validate(settings)
    except ValidationError as error:
        raise problems(error, TrainCell, settings, Path("muster show parameterization"))[0] from None
    trained = tensors(cell)
    width_ratio, depth_ratio = shape_ratios(cell)
    rows = effective_table(
        args.name,
        cell.optimizer,
        cell.rule,
        trained,
        width_ratio,
        args.lr,
        eps=args.eps,
        weight_decay=args.weight_decay,
        depth_ratio=depth_ratio,
        alpha=cell.branch_exponent,
        epsilon_rule=cell.epsilon_rule,
        decay_rule=cell.decay_rule,
    )
    print(table.summary)
    base = "no base shape" if table.unit else f"base {cell.base_width} × {cell.base_depth} (where it equals sp)"
    print(f"family {cell.family}, width {cell.width}, depth {cell.depth}, {base}")
    print(f"{cell.optimizer}, rule {cell.rule}, epsilon_rule {cell.epsilon_rule}, decay_rule {cell.decay_rule}")
    if any(tensor.branch for tensor in trained):
        print(f"residual branches × {branch_multiplier(cell):.4g}")
    print(f"\n{render_table(rows)}")
    print("\nW = (W/w)·w acts in the network, w is trained; a, b, g: powers of 1/n in W/w, std(w), gradient of w")
    print("n: width, L: depth, over the base shape" if not table.unit else "n: fan-in, L: depth, both absolute")
    for note in table.notes:
        print(f"- {note}")


def _show_dataset(args: Namespace) -> None:
    from muster.data import describe

    facts = describe(args.name)
    options = facts.pop("options")
    print_table(list(facts.items()))
    print("\noptions")
    print_table([("", name, f"default {o['default']}", o["meaning"] or "") for name, o in options.items()])


def _show_config(args: Namespace) -> None:
    """config.yaml with its defaults and the replaced fields, as JSON (which is YAML)."""
    given = {"scale": args.scale, "seeds": args.seeds, "dtype": args.dtype}
    config = load_config(args.config, {name: value for name, value in given.items() if value is not None})
    print(json.dumps(config.model_dump(), indent=2))


def plan(args: Namespace) -> None:
    """Cells, runs, FLOPs and time of each study; or every cell."""
    given = {"scale": args.scale, "seeds": args.seeds, "dtype": args.dtype, "studies": args.studies or None}
    config = load_config(args.config, {name: value for name, value in given.items() if value is not None})
    found = make_plan(config, args.config)
    if args.json:
        print("\n".join(cell.text for cell in found.cells.values()))
    elif args.cells:
        print_table([("cell", "members", "GFLOP", "seconds"), *(_cell_row(cell) for cell in found.cells.values())])
    else:
        _print_plan(found, config, args.cores or os.cpu_count() or 1)


def _cell_row(cell: Any) -> tuple[str, ...]:
    cost = cell.cost
    return (cell.key, str(cell.members), f"{cost.flops / 1e9:.3g}", f"{cost.seconds:.3g}")


def _print_plan(found: Plan, config: Config, cores: int) -> None:
    speed = _speed(cores)
    overhead = JOB_OVERHEAD / speed
    rows: list[tuple[str, ...]] = [
        ("study", "experiment", "cells", "runs", "FLOP", f"time on {cores} cores", "GPU-hours", "axes")
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
            axes.append(f"{axis}×{len(values)}")
    return (
        name,
        study.study.experiment,
        str(len(study.cells)),
        _runs(study),
        f"{total.flops:.2g}",
        duration(seconds),
        _gpu_hours(total.gpu_seconds),
        " ".join(axes),
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


def validate(args: Namespace) -> int:
    """Check every file at every scale; prints one line per file, all mistakes, and fails if there is any."""
    from muster.cli.check import check_claim_names, check_study

    mistakes: list[MusterError] = []
    paths = study_paths(args.config)
    studies: dict[str, StudyConfig] = {}
    try:
        load_config(args.config)
    except MusterError as error:
        mistakes.append(error)
    for name, path in paths.items():
        try:
            studies[name] = load_study(path)
            for scale in studies[name].scales:
                check_study(plan_study(studies[name], scale, seeds=args.seeds, path=path), path)
            print(f"{path}: {len(studies[name].claims)} claims, scales {', '.join(studies[name].scales)}: ok")
        except MusterError as error:
            mistakes.append(error)
    try:
        check_claim_names(studies, paths)
    except MusterError as error:
        mistakes.append(error)
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    return 2 if mistakes else 0


def schema(args: Namespace) -> None:
    """Write the JSON schema."""
    from muster.config.schema import render
    from muster.files import write_text

    if str(args.output) == "-":
        print(render(), end="")
    else:
        write_text(args.output, render())
        print(args.output)
