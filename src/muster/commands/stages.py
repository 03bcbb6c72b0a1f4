"""The stages of the flow, one function each: read, call the library, write. Snakemake's rules call these."""

import json
import os
import platform
import resource
import shutil
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.config.load import load_config, load_study, nearest, study_paths
from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Context
from muster.external.source import source_folder
from muster.plan import (
    LEDGER_PLOTS,
    SPECIFICATION_PLOTS,
    PlannedCell,
    StudyPlan,
    dataset_of,
    digest,
    load_plan,
    plan_study,
    read_cell,
)

if TYPE_CHECKING:
    import pandas as pd

SMOKE = {"replicates": 100, "thorough": False}  # options of estimators at scale smoke, which judges nothing


def settle(args: Namespace) -> Namespace:
    """Fill scale, seeds, dtype, results and, if the command has it, sources from the configuration, where left open."""
    unknown_sources = "sources" in args and args.sources is None
    if args.scale is None or args.results is None or unknown_sources:
        config = load_config(args.config)
        if unknown_sources:
            args.sources = source_folder(config.sources)
        args.scale = args.scale or config.scale
        args.seeds = args.seeds or config.seeds
        args.dtype = args.dtype or config.dtype
        args.results = args.results or Path(config.results)
    return args


def make_data(args: Namespace) -> None:
    """Make one data set in its folder below results/data."""
    from muster.data import dataset_key, write_dataset

    try:
        options = json.loads(args.options)
    except ValueError as error:
        raise MusterError("--options", f"not JSON ({error})", """Write them as '{"train": 1000}'""") from None
    folder = args.results / "data" / dataset_key(args.name, options)
    write_dataset(args.name, options, folder)
    print(folder)


def run_cell(args: Namespace) -> None:
    """Run one cell of any stage and write its tables, resolved settings and provenance.

    A checkpoint left by a killed job is taken up; it lies outside the declared outputs, which Snakemake deletes when a
    job fails, and is removed once the tables are written.
    """
    from muster.fingerprint import experiment_fingerprint
    from muster.tables.collect import write_cell

    planned = _cell_of(settle(args))
    if planned.stage != args.command:
        raise MusterError(
            planned.key, f"belongs to the stage {planned.stage!r}", f"Run it with: muster {planned.stage}"
        )
    folder = args.results / "runs" / planned.key
    checkpoints = args.results / "checkpoints" / planned.key
    code = experiment_fingerprint(planned.experiment)
    context = Context(
        device=args.device,
        dtype=planned.dtype,
        data_dir=_data_dir(planned, args.results),
        checkpoint_dir=checkpoints,
        source_dirs=(*([own] if (own := getattr(args, "sources", None)) else []), args.results / "sources"),
        download_dir=args.results / "sources" / "downloaded",
        fingerprint=code,
        progress=lambda line: print(line, flush=True),
    )
    start = time.perf_counter()
    try:
        outcome = EXPERIMENTS[planned.experiment].run(planned.cell, context)
    except MusterError as error:
        raise MusterError(f"{planned.key}, {error.place}", error.found, error.remedy) from None
    except OSError as error:
        where = str(error.filename or checkpoints)
        raise MusterError(where, f"{error.strerror or error}", "Make the folder writable or free some space") from None
    provenance = _provenance(planned, args.device, code, time.perf_counter() - start)
    write_cell(outcome, planned, folder, provenance | ({"notes": outcome.notes} if outcome.notes else {}))
    shutil.rmtree(checkpoints, ignore_errors=True)


def _cell_of(args: Namespace) -> PlannedCell:
    """The cell given as JSON, or found in the plan by its folder's name or digest."""
    if args.cell is not None:
        return read_cell(args.cell)
    plan = load_plan(args.config, scale=args.scale, seeds=args.seeds, dtype=args.dtype)
    wanted = str(args.name).rstrip("/")
    found = [cell for key, cell in plan.cells.items() if wanted.endswith(key) or key.endswith(wanted)]
    if len(found) != 1:
        remedy = "Give a cell's folder name or digest as `muster plan STUDY --cells` lists them"
        raise MusterError(f"cell {wanted!r}", f"{len(found)} cells of the plan match", remedy)
    return found[0]


def _data_dir(planned: PlannedCell, results: Path) -> Path | None:
    dataset = dataset_of(planned)
    if dataset is None:
        return None
    folder = results / "data" / dataset.key
    if not (folder / "data.npz").exists():
        remedy = f"Make it with: muster data {dataset.name} --options '{dataset.options}' --results {results}"
        raise MusterError(str(folder), "the data set has not been made", remedy)
    return folder


def _provenance(planned: PlannedCell, device: str, code: str, seconds: float) -> dict[str, Any]:
    import numpy

    from muster import __version__

    versions = {"muster": __version__, "python": platform.python_version(), "numpy": numpy.__version__}
    if "torch" in sys.modules:
        versions["torch"] = sys.modules["torch"].__version__
    return {
        "cell": planned.key,
        "code": code,
        "device": device,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "platform": platform.platform(),
        "seconds": round(seconds, 3),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "versions": versions,
    }


def collect_study(args: Namespace) -> None:
    """Concatenate the cells of a study into its three tables."""
    from muster.tables.collect import collect, collect_sources, write_tables

    plan = _study_plan(settle(args))
    tables = collect(plan, args.results)
    write_tables(tables, args.results / "tables" / plan.study.study, collect_sources(plan, args.results))


def _study_plan(args: Namespace, name: str | None = None) -> StudyPlan:
    name = name or args.study
    paths = study_paths(args.config)
    path = paths.get(name)
    if path is None:
        raise MusterError(str(args.config.parent / "studies"), f"unknown study {name!r}", nearest(name, paths))
    return plan_study(load_study(path), args.scale, seeds=args.seeds, dtype=args.dtype or "float32", path=path)


def _tables(results: Path, study: str) -> "dict[str, pd.DataFrame]":
    from muster.tables.collect import KINDS
    from muster.tables.io import read_table

    return {kind: read_table(results / "tables" / study / f"{kind}.parquet", kind) for kind in KINDS}


def fit(args: Namespace) -> None:
    """Fit a study's models to its tables."""
    from muster.fitting import fit_study
    from muster.tables.io import write_frame, write_text

    study = _fitted_study(settle(args))
    folder = args.results / "fits" / study.study
    optima, fits = fit_study(study, _tables(args.results, study.study))
    write_frame(optima, folder / "optima.parquet")
    write_frame(fits, folder / "fits.parquet")
    write_text(folder / "fits.json", json.dumps(_fit_stamp(args, study), sort_keys=True) + "\n")


def specify(args: Namespace) -> None:
    """Fit again, under every reasonable choice of estimator, the exponents whose specification curves are drawn."""
    import pandas as pd

    from muster.fitting.specification import specification_curves
    from muster.tables.io import write_frame

    study = _fitted_study(settle(args))
    folder = args.results / "fits" / study.study
    fits = pd.read_parquet(folder / "fits.parquet")
    write_frame(specification_curves(study, _tables(args.results, study.study), fits), folder / "specification.parquet")


def _fitted_study(args: Namespace) -> StudyConfig:
    """The study as its fits are made: at scale smoke, which judges nothing, without what only earns a number trust."""
    from muster.fitting.base import ESTIMATORS

    study = _study_plan(args).study
    if args.scale != "smoke":
        return study
    fits = dict(study.fits)
    for name, fit in study.fits.items():
        known = ESTIMATORS[fit.estimator].options.model_fields
        less = {option: value for option, value in SMOKE.items() if option in known}
        fits[name] = fit.model_copy(update={"options": {**fit.options, **less}})
    return study.model_copy(update={"fits": fits})


def _fit_stamp(args: Namespace, study: StudyConfig) -> dict[str, str]:
    """What the fits were made from: fits of a study outside the present run count only while this still holds."""
    from muster.fingerprint import stage_fingerprint

    plan = _study_plan(args, study.study)
    models = digest(study.model_dump(mode="json")["fits"])
    return {"scale": args.scale, "cells": plan.digest, "fits": models, "code": stage_fingerprint("fit")}


def judge_studies(args: Namespace) -> None:
    """Hold every claim of every study against its fit, and write the ledger.

    The fits of the studies in `--studies` must exist. Other studies keep their verdicts if fits of the same scale, grid
    and models lie in the results; else their claims are `not run`.
    """
    import pandas as pd

    from muster.claims.ledger import judge, write_ledger
    from muster.tables.collect import unavailable

    settle(args)
    known = {name: load_study(path) for name, path in study_paths(args.config).items()}
    fits: dict[str, pd.DataFrame] = {}
    for name, study in known.items():
        path = args.results / "fits" / name / "fits.parquet"
        if name in args.studies and not path.exists():
            raise MusterError(str(path), "no such fits", f"Make them with: muster fit {name} --scale {args.scale}")
        if name in args.studies or (path.exists() and _is_current(args, study, path.with_name("fits.json"))):
            fits[name] = pd.read_parquet(path)
    missing = {name: reason for name in fits if (reason := unavailable(args.results, name))}
    write_ledger(judge(list(known.values()), fits, args.scale, missing), args.results / "ledger")


def _is_current(args: Namespace, study: StudyConfig, stamp: Path) -> bool:
    if args.scale not in study.scales or not stamp.exists():
        return False
    try:
        return json.loads(stamp.read_text()) == _fit_stamp(args, study)
    except ValueError:
        return False


def plot(args: Namespace) -> None:
    """Draw one figure of a study, or the overview of the ledger, as SVG and PNG."""
    from muster.claims.ledger import read_ledger
    from muster.plots import PlotData, overview, render, save

    settle(args)

    folder = args.results / "figures" / args.study
    if args.study == "overview":
        known = [load_study(path) for path in study_paths(args.config).values()]
        figure = overview(read_ledger(args.results / "ledger"), known, args.scale)
    else:
        import pandas as pd

        study = _study_plan(args).study
        fits = args.results / "fits" / study.study
        spec = study.figures.get(args.figure)
        ledger = specification = pd.DataFrame()
        if spec is not None and spec.plot in SPECIFICATION_PLOTS:
            specification = pd.read_parquet(fits / "specification.parquet")
        if spec is not None and spec.plot in LEDGER_PLOTS:
            ledger = read_ledger(args.results / "ledger")
            ledger = ledger[ledger["study"] == study.study]
        data = PlotData(
            study,
            args.scale,
            **_tables(args.results, study.study),
            optima=pd.read_parquet(fits / "optima.parquet"),
            fits=pd.read_parquet(fits / "fits.parquet"),
            specification=specification,
            claims=ledger,
        )
        figure = render(args.figure, data)
    save(figure, folder / f"{args.figure}.svg", folder / f"{args.figure}.png")
