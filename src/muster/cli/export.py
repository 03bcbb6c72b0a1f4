"""The command `export`: learning curves for programs that show curves."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from muster.config.load import load_config, load_study, nearest, study_paths
from muster.errors import MusterError
from muster.plan.grid import plan_study


def export(args: Namespace) -> None:
    """Write a study's learning curves as TensorBoard's event files, a folder a run, named by the axes that vary.

    Raises MusterError if the study or its table of curves is missing, the table is empty, or the package `tensorboard`
    is not installed.
    """
    from muster.tables.io import read_table

    config = load_config(args.config, {"scale": args.scale} if args.scale else {})
    paths = study_paths(args.config)
    if args.study not in paths:
        raise MusterError("study", f"unknown name {args.study!r}", nearest(args.study, paths))
    plan = plan_study(load_study(paths[args.study]), config.scale, path=paths[args.study])
    path = (args.results or Path(config.results)) / "tables" / args.study / "curves.parquet"
    curves = read_table(path, "curves")
    if curves.empty:
        raise MusterError(str(path), "the study has no learning curves", "Curves come from training and from commands")
    keys = [key for key in plan.keys if key in curves and curves[key].nunique(dropna=False) > 1] or ["study"]
    folder = args.output or Path("tensorboard") / args.study
    runs = curves.groupby(keys, sort=True, dropna=False)
    for values, rows in runs:
        _write(folder / " ".join(f"{key}={value}" for key, value in zip(keys, values, strict=True)), rows)
    print(f"{len(runs)} runs in {folder}: tensorboard --logdir {folder}")


def _write(folder: Path, rows: Any) -> None:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise MusterError(
            "muster export", "the package tensorboard is not installed", "pip install 'muster[tensorboard]'"
        ) from None
    with SummaryWriter(str(folder)) as writer:
        for row in rows.itertuples():
            for loss in ("train_loss", "eval_loss"):
                writer.add_scalar(loss, getattr(row, loss), row.step)
