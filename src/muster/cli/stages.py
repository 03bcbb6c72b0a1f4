"""The stages of the flow, one function each: read, call the library, write. Snakemake's rules call these."""

import json
import math
import shutil
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.cli.job import check_planned, stage
from muster.config.load import load_config, load_studies, load_study, nearest, study_paths
from muster.config.models import PUBLISHED, Config, StudyConfig, check_workbench, shared_folder
from muster.digests import digest, sealed, unsealed
from muster.errors import DamagedError, MusterError
from muster.experiments import EXPERIMENTS, Context
from muster.files import SUMS, check_beside, write_sums, write_text
from muster.jobs.decisions import looks_taken
from muster.jobs.gpus import one_gpu
from muster.jobs.planned import read_planned
from muster.jobs.provenance import made_before, made_by, makers, mixed, note_made, recorded
from muster.jobs.store import Store, address, identity, store_folder
from muster.plan.cells import PlannedCell, dataset_of, read_cell
from muster.plan.grid import plan_study
from muster.plan.plan import load_plan
from muster.plan.study import LEDGER_PLOTS, SPECIFICATION_PLOTS, StudyPlan, fitted_settings, ledger_settings
from muster.published.source import source_folder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SMOKE = {"replicates": 100, "thorough": False}  # options of estimators at scale smoke, which judges nothing
OVERVIEW_PIXELS = 1200
GPU_STAGES = ("train", "command")


def with_defaults(args: Namespace) -> Namespace:
    """Fill scale, seeds, dtype, results and, if the command has it, sources from the configuration, where left open."""
    unknown_sources = "sources" in args and args.sources is None
    if args.scale is None or args.results is None or unknown_sources:
        config = load_config(args.config, {"scale": args.scale} if args.scale else {})
        if unknown_sources:
            args.sources = source_folder(config.sources)
        args.scale = args.scale or config.scale
        args.seeds = args.seeds or config.seeds
        args.dtype = args.dtype or config.dtype
        args.results = args.results or Path(config.results)
    try:
        check_workbench(args.results)
    except ValueError as error:
        raise MusterError("--results", f"found {args.results}", str(error)) from None
    return args


@stage
def make_data(args: Namespace) -> None:
    """Make one data set in its folder below results/data; one that cannot be had leaves a manifest that says why."""
    from muster.data import Places, dataset_key, write_dataset
    from muster.data.prepared import MANIFEST_FILE
    from muster.jobs.fingerprint import dataset_fingerprint

    try:
        options = json.loads(args.options)
    except ValueError as error:
        raise MusterError("--options", f"not JSON ({error})", """Write them as '{"train": 1000}'""") from None
    args.results = args.results or Path(load_config(args.config).results)
    folder = args.results / "data" / dataset_key(args.name, options)
    places = Places(_source_folders(args), shared_folder(args.results) / "sources" / "downloaded")
    settings = {"options": options, "state": args.state}
    with recorded(args.results, f"data/{folder.name}", dataset_fingerprint(args.name), settings):
        (folder / SUMS).unlink(missing_ok=True)
        manifest = write_dataset(args.name, options, folder, places)
        write_sums(folder, {MANIFEST_FILE: (folder / MANIFEST_FILE).read_bytes()})
    if "unavailable" in manifest:
        print(f"{args.name} is not available, {manifest['unavailable']}: {manifest['remedy']}")
    print(folder)


def _source_folders(args: Namespace) -> tuple[Path, ...]:
    """Where copies of published tables and data sets are looked for: the user's folder, then that of `muster fetch`."""
    own = getattr(args, "sources", None) or source_folder(None)
    return (*([own] if own else []), shared_folder(args.results) / "sources")


@stage
def run_cell(args: Namespace) -> None:
    """Run one cell of any stage and write its tables, resolved settings and provenance.

    A checkpoint left by a killed job is taken up; it lies outside the declared outputs, which Snakemake deletes when a
    job fails, and is removed once the tables are written. A cell that was finished before, here or by another user of
    the store, is copied from there; not if it is forced, nor if it was made here and is gone.
    """
    from muster.jobs.fingerprint import cell_fingerprint
    from muster.tables.collect import without_data, write_cell, write_provenance

    planned = _cell_of(with_defaults(args))
    if planned.stage != args.command:
        raise MusterError(
            planned.key, f"belongs to the stage {planned.stage!r}", f"Run it with: muster {planned.stage}"
        )
    folder = args.results / "runs" / planned.key
    checkpoints = args.results / "checkpoints" / planned.key
    code = cell_fingerprint(planned.experiment, planned.cell, planned.dtype)
    check_planned(args, f"{planned.key}: the code that decides its result", code)
    sources = shared_folder(args.results) / "sources"
    context = Context(
        device=args.device,
        dtype=planned.dtype,
        data_dir=_data_dir(planned, args.results),
        checkpoint_dir=checkpoints,
        source_dirs=_source_folders(args),
        download_dir=sources / "downloaded",
        fingerprint=code,
        progress=lambda line: print(line, flush=True),
    )
    missing = _missing_data(context.data_dir)
    store, made = None if missing else _store(args, planned), identity(planned, code, context.data_dir)
    if store and not _made_anew(args.results, planned.key) and store.take(made, folder, context.progress):
        note_made(args.results, planned.key, address(made))
        shutil.rmtree(checkpoints, ignore_errors=True)
        return
    start = time.perf_counter()
    try:
        if missing:
            context.progress(f"no runs: {missing['name']} is not available, {missing['unavailable']}")
            outcome = without_data(planned, missing)
        else:
            with one_gpu(planned.stage in GPU_STAGES and args.device != "cpu", context.progress):
                outcome = EXPERIMENTS[planned.experiment].run(planned.cell, context)
    except DamagedError as error:
        raise DamagedError(f"{planned.key}, {error.place}", error.found, *error.paths) from None
    except MusterError as error:
        raise MusterError(f"{planned.key}, {error.place}", error.found, error.remedy) from None
    except OSError as error:
        where = str(error.filename or checkpoints)
        raise MusterError(where, f"{error.strerror or error}", "Make the folder writable or free some space") from None
    provenance = {
        "cell": planned.key,
        **made_by(code, time.perf_counter() - start, _device(planned.stage, args.device)),
        **({"notes": outcome.notes} if outcome.notes else {}),
    }
    write_cell(outcome, planned, folder, provenance)
    if not missing:
        note_made(args.results, planned.key, address(made))
    if store and (other := store.put(made, folder, context.progress)):
        write_provenance(provenance | {"differs_from_store": other}, folder)
    shutil.rmtree(checkpoints, ignore_errors=True)


def _made_anew(results: Path, key: str) -> bool:
    """Whether a cell may not be copied from the store. A run tells its jobs, since Snakemake takes a cell's table away
    before its job starts; a job that was started by hand sees what was made here and is gone.
    """
    told = read_planned()
    if told is not None:
        return key in told.anew
    return made_before(results, key) and not (results / "runs" / key / "runs.parquet").exists()


def _store(args: Namespace, planned: PlannedCell) -> Store | None:
    """The store of the configuration, if what decides the cell is known; a job that stands on its own, `--cell`, needs
    no configuration."""
    experiment = EXPERIMENTS[planned.experiment]
    if not (experiment.stored and experiment.files(planned.cell).whole):
        return None
    own = {"results": str(args.results)}
    folder = store_folder(load_config(args.config, own) if args.config.exists() else Config.model_validate(own))
    return Store(folder) if folder else None


def _device(stage: str, asked: str) -> str:
    """What `auto` turned out to be; whatever does not train runs on the CPU."""
    if stage not in GPU_STAGES:
        return "cpu"
    from muster.training.device import resolve

    return str(resolve(asked))


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


def _missing_data(folder: Path | None) -> dict[str, Any] | None:
    """The manifest of a data set that could not be had."""
    from muster.data import load_manifest
    from muster.data.prepared import MANIFEST_FILE

    if folder:
        check_beside(folder / MANIFEST_FILE)
    manifest = load_manifest(folder) if folder else {}
    return manifest if "unavailable" in manifest else None


@stage
def collect_study(args: Namespace) -> None:
    """Concatenate the cells of a study into its three tables."""
    from muster.claims.changed import declared
    from muster.jobs.fingerprint import stage_fingerprint
    from muster.jobs.tracking import first_declared
    from muster.tables.collect import collect, collect_missing, collect_records, collect_sources, write_tables

    plan = study_plan(with_defaults(args))
    with recorded(
        args.results, f"tables/{plan.study.study}", stage_fingerprint("collect"), {**_scope(args), "cells": plan.digest}
    ) as record:
        record["declared"] = first_declared(args.results, None, plan.study.study) or declared(plan.study)
        record["cells_made_by"] = made = makers(collect_records(plan, args.results))
        record["mixed"] = mixed(made)
        for line in record["mixed"]:
            print(f"the cells are not of one make: {line}")
        tables = collect(plan, args.results)
        folder = args.results / "tables" / plan.study.study
        write_tables(tables, folder, collect_sources(plan, args.results), collect_missing(plan, args.results))


def _scope(args: Namespace) -> dict[str, Any]:
    """What a run of the flow replaces in every study."""
    return {"scale": args.scale, "seeds": args.seeds, "dtype": args.dtype}


def study_plan(args: Namespace, name: str | None = None) -> StudyPlan:
    """The plan of a study; of the command's own, only as long as its file is what Snakemake planned from."""
    chosen = name or args.study
    paths = study_paths(args.config)
    path = paths.get(chosen)
    if path is None:
        raise MusterError(str(args.config.parent / "studies"), f"unknown study {chosen!r}", nearest(chosen, paths))
    plan = plan_study(load_study(path), args.scale, seeds=args.seeds, dtype=args.dtype or "float32", path=path)
    if name is None:
        check_planned(args, str(path), plan.stamp)
    return plan


def _tables(results: Path, study: str) -> "dict[str, pd.DataFrame]":
    from muster.tables.collect import KINDS
    from muster.tables.io import read_table

    return {kind: read_table(results / "tables" / study / f"{kind}.parquet", kind) for kind in KINDS}


@stage
def fit(args: Namespace) -> None:
    """Fit a study's models to its tables, and check whether its claims are fairly tested there."""
    from muster.claims.conditions import check_regimes
    from muster.fitting.study import fit_and_predict
    from muster.tables.io import write_frame

    plan = study_plan(with_defaults(args))
    study = _fitted_study(plan, args.scale)
    folder = args.results / "fits" / study.study
    stamp = fit_stamp(args, plan)
    with recorded(args.results, f"fits/{study.study}/fits", stamp["code"], {**_scope(args), **stamp}):
        tables = _tables(args.results, study.study)
        optima, fits, predictions = fit_and_predict(study, tables)
        regime = check_regimes(study, tables, optima, fits)
        write_frame(predictions, folder / "predictions.parquet")
        write_frame(regime, folder / "regime.parquet")
        write_frame(optima, folder / "optima.parquet")
        write_frame(fits, folder / "fits.parquet")
        write_text(folder / "fits.json", sealed(stamp))


@stage
def specify(args: Namespace) -> None:
    """Fit again, under every reasonable choice of estimator, the exponents whose specification curves are drawn."""
    from muster.fitting.specification import specification_curves
    from muster.tables.io import read_frame, write_frame

    plan = study_plan(with_defaults(args))
    study, stamp = _fitted_study(plan, args.scale), fit_stamp(args, plan)
    folder = args.results / "fits" / study.study
    with recorded(args.results, f"fits/{study.study}/specification", stamp["code"], {**_scope(args), **stamp}):
        fits = read_frame(folder / "fits.parquet")
        curves = specification_curves(study, _tables(args.results, study.study), fits)
        write_frame(curves, folder / "specification.parquet")


def _fitted_study(plan: StudyPlan, scale: str) -> StudyConfig:
    """The study as its fits are made: at scale smoke, which judges nothing, without what only earns a number trust."""
    from muster.fitting.base import ESTIMATORS

    study = plan.study
    if scale != "smoke":
        return study
    fits = dict(study.fits)
    for name, fit in study.fits.items():
        known = ESTIMATORS[fit.estimator].options.model_fields
        less = {option: value for option, value in SMOKE.items() if option in known}
        fits[name] = fit.model_copy(update={"options": {**fit.options, **less}})
    return study.model_copy(update={"fits": fits})


def fit_stamp(args: Namespace, plan: StudyPlan) -> dict[str, Any]:
    """What the fits were made from: fits of a study outside the present run count only while this still holds."""
    from muster.jobs.fingerprint import stage_fingerprint
    from muster.tables.collect import KINDS
    from muster.tables.io import content_digest

    folder = args.results / "tables" / plan.study.study
    return {
        "scale": args.scale,
        "cells": plan.digest,
        **{part: digest(settings) for part, settings in fitted_settings(plan.study).items()},
        "code": stage_fingerprint("fit", plan.study),
        "tables": {kind: content_digest(folder / f"{kind}.parquet") for kind in KINDS},
    }


@stage
def judge_studies(args: Namespace) -> None:
    """Hold every claim of every study against its fit, and write the ledger.

    The fits of the studies in `--studies` must exist. Other studies keep their verdicts if fits of the same scale, grid
    and models lie in the results; else their claims are `not run`.
    """
    from muster.claims.ledger import judge, write_ledger
    from muster.jobs.fingerprint import stage_fingerprint
    from muster.jobs.tracking import first_declared
    from muster.tables.io import read_frame
    from muster.tables.missing import read_missing

    with_defaults(args)
    known = load_studies(args.config).known
    own = {name: study for name, study in known.items() if name in args.studies}
    check_planned(args, str(args.config.parent / "studies"), digest(ledger_settings(own)))
    fits: dict[str, pd.DataFrame] = {}
    for name, study in known.items():
        path = args.results / "fits" / name / "fits.parquet"
        if name in args.studies and not path.exists():
            raise MusterError(str(path), "no such fits", f"Make them with: muster fit {name} --scale {args.scale}")
        if name in args.studies or (path.exists() and _is_current(args, study, path.with_name("fits.json"))):
            fits[name] = read_frame(path)
    missing = {name: read_missing(args.results, name) for name in fits}
    regimes = {name: read_frame(args.results / "fits" / name / "regime.parquet") for name in fits}
    settings = {**_scope(args), "studies": args.studies}
    with recorded(args.results, "ledger", stage_fingerprint("judge"), settings) as record:
        if taken := looks_taken(args.results, known):
            record["looks"] = taken
        first = {name: said for name in fits if (said := first_declared(args.results, PUBLISHED, name))}
        ledger = judge(list(known.values()), fits, args.scale, missing, regimes=regimes, first=first)
        write_ledger(ledger, args.results / "ledger", questions=questions_of(known))


def questions_of(known: Mapping[str, StudyConfig]) -> dict[str, str | None]:
    """Study → the question under which the ledger shows its claims."""
    return {name: study.question for name, study in known.items()}


def _is_current(args: Namespace, study: StudyConfig, stamp: Path) -> bool:
    if args.scale not in study.scales or not stamp.exists():
        return False
    try:
        made = unsealed(stamp.read_bytes())
    except (OSError, ValueError) as error:
        remedy = f"Make it anew with: muster fit {study.study} --scale {args.scale}"
        raise MusterError(str(stamp), f"damaged ({error})", remedy) from None
    try:
        return made == fit_stamp(args, study_plan(args, study.study))
    except MusterError:  # a study that cannot be planned any more
        return False


@stage
def plot(args: Namespace) -> None:
    """Draw one figure of a study, or the overview of the ledger, as SVG and PNG."""
    from muster.jobs.fingerprint import stage_fingerprint
    from muster.plots import save

    with_defaults(args)
    artifact = f"figures/{args.study}/{args.figure}"
    study = None if args.study == "overview" else study_plan(args).study
    with recorded(args.results, artifact, stage_fingerprint("plot", study), _scope(args)):
        save(draw(args), args.results / f"{artifact}.svg", args.results / f"{artifact}.png", tallest_of(args.study))


def tallest_of(study: str) -> float:
    """Pixels that a figure's PNG may be high: the overview stands in a column of a page."""
    return OVERVIEW_PIXELS if study == "overview" else math.inf


def draw(args: Namespace) -> "Figure":
    """A figure of a study, or the overview, drawn from the tables, fits and ledger of `args.results`."""
    import pandas as pd

    from muster.claims.ledger import read_ledger
    from muster.plots import PlotData, overview, render, render_missing
    from muster.tables.io import read_frame
    from muster.tables.missing import read_missing

    if args.study == "overview":
        known = list(load_studies(args.config).known.values())
        return overview(read_ledger(args.results / "ledger"), known, args.scale)
    study = study_plan(args).study
    fits = args.results / "fits" / study.study
    spec = study.figures.get(args.figure)
    ledger = specification = predictions = pd.DataFrame()
    if (fits / "predictions.parquet").exists():  # fits of earlier versions, which are replayed, have none
        predictions = read_frame(fits / "predictions.parquet")
    if spec is not None and spec.plot in SPECIFICATION_PLOTS:
        specification = read_frame(fits / "specification.parquet")
    if spec is not None and spec.plot in LEDGER_PLOTS:
        ledger = read_ledger(args.results / "ledger")
        ledger = ledger[ledger["study"] == study.study]
    data = PlotData(
        study,
        args.scale,
        **_tables(args.results, study.study),
        optima=read_frame(fits / "optima.parquet"),
        fits=read_frame(fits / "fits.parquet"),
        predictions=predictions,
        specification=specification,
        claims=ledger,
        regime=read_frame(fits / "regime.parquet"),
    )
    missing = read_missing(args.results, study.study)
    if missing and spec is not None and data.runs.empty and data.curves.empty and data.probes.empty:
        return render_missing(data, [lacking.what for lacking in missing])
    return render(args.figure, data)
