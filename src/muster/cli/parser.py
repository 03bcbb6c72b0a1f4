"""The command line: parsing only. What a command does lives in `muster.cli`, imported when it runs."""

import argparse
import importlib
import math
import sys
from functools import cache
from pathlib import Path

from muster import __version__
from muster.errors import MusterError
from muster.registry import REGISTRIES

SCALES = ("smoke", "laptop", "paper")
KINDS = ("studies", "claims", *REGISTRIES)
SHOWN = {  # by `muster show` (`_show_…` in `inspect`, else `entries`) → what `muster list` calls all of them
    "study": "studies",
    "claim": "claims",
    "experiment": "experiments",
    "estimator": "estimators",
    "closed_form": "closed_forms",
    "check": "checks",
    "plot": "plots",
    "reader": "readers",
    "transform": "transforms",
    "parameterization": "parameterizations",
    "rule": "rules",
    "epsilon_rule": "epsilon_rules",
    "decay_rule": "decay_rules",
    "optimizer": "optimizers",
    "family": "families",
    "activation": "activations",
    "dataset": "datasets",
    "schedule": "schedules",
    "loss": "losses",
    "probe": "probes",
    "config": None,
    "machine": None,
}

ABOUT = """\
muster runs families of small networks, fits how their best hyperparameters and features scale with width and depth,
and holds published claims against the fits. A study is one YAML file in config/studies/.

first steps:
  muster list studies              what there is
  muster plan relu-kurtosis        cells, members, FLOPs and time of a study
  muster run relu-kurtosis         run it: tables, fits, ledger, figures
  snakemake --cores 2              run everything in config/config.yaml
"""


def run_command(words: list[str]) -> int:
    """Run one command in this process. A mistake the user can mend becomes one line on stderr and exit status 2."""
    own, passed = divided(words)
    args = parser().parse_args(own)
    args.argv, args.passed = words, passed
    module, function = args.function.split(":")
    try:
        return getattr(importlib.import_module(f"muster.cli.{module}"), function)(args) or 0
    except MusterError as error:
        print(f"muster {args.command}: {error}", file=sys.stderr)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        print(
            f"muster {args.command}: {error.filename}: {error.strerror}. Check the path, its owner and free space",
            file=sys.stderr,
        )
    return 2


def divided(words: list[str]) -> tuple[list[str], list[str]]:
    """The command's own words, and those after `--` that `run` hands to Snakemake.

    argparse would give them to the studies: it takes them for positional arguments like any other.
    """
    if words[:1] != ["run"] or "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


@cache
def parser() -> argparse.ArgumentParser:
    """The whole grammar, with the examples that `--help` prints."""
    root = argparse.ArgumentParser("muster", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    root.add_argument("--version", action="version", version=f"muster {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    _look(commands)
    _run(commands)
    _own_table(commands)
    _stages(commands)
    return root


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    function: str,
    summary: str,
    examples: str = "",
) -> argparse.ArgumentParser:
    epilog = f"examples:\n{examples}" if examples else None
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(function=function)
    command.add_argument(
        "--config",
        type=Path,
        default=Path("config/config.yaml"),
        metavar="FILE",
        help="configuration; studies/ lies beside it",
    )
    return command


def _scope(command: argparse.ArgumentParser) -> None:
    """Options that replace fields of config.yaml."""
    command.add_argument("--scale", choices=SCALES, help="preset of the grid (default: config.yaml)")
    command.add_argument(
        "--seeds", type=_positive, metavar="N", help="seeds per shape, instead of the study's own number"
    )
    command.add_argument(
        "--dtype", choices=("float32", "float64", "bfloat16"), help="number format (default: config.yaml)"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number ≥ 1")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number ≥ 0")
    return number


def _duration(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no duration: write 90s, 30m or 2h")
    return seconds


def _sources(command: argparse.ArgumentParser) -> None:
    help_ = "folder of published tables and data sets (default: MUSTER_SOURCES, config.yaml, results/sources)"
    command.add_argument("--sources", type=Path, metavar="DIR", help=help_)


def _planned(command: argparse.ArgumentParser) -> None:
    """What Snakemake planned the job from: the job refuses to run on anything else."""
    command.add_argument("--planned", help=argparse.SUPPRESS)


def _results(command: argparse.ArgumentParser) -> None:
    command.add_argument("--results", type=Path, metavar="DIR", help="folder of everything made (default: config.yaml)")


def _look(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    listing = _add(
        commands, "list", "inspect:list_entries", "List what a YAML file may name",
        "  muster list                  the kinds\n  muster list estimators       one kind, a line each",
    )  # fmt: skip
    listing.add_argument("kind", nargs="?", choices=KINDS, metavar="KIND", help=", ".join(KINDS))

    show = _add(
        commands,
        "show",
        "inspect:show",
        "Show a study, a claim, config.yaml, the machine, or whatever else a YAML file may name",
        "  muster show study mup-width-transfer\n"
        "  muster show claim mup-adam-rate-is-flat\n"
        "  muster show experiment relu_chain  every setting that a study may give it\n"
        "  muster show estimator joint_law   what it assumes, how it fails, a fit to copy\n"
        "  muster show check steady          what a regime check computes, and its options\n"
        "  muster show plot lr_sweep         what it draws, and its options\n"
        "  muster show reader run_files      what it reads, its options, a source to copy\n"
        "  muster show transform last_step   a step over rows, or an expression of columns\n"
        "  muster show optimizer lion        its settings; so family, schedule, loss, probe …\n"
        "  muster show config --scale smoke\n"
        "  muster show machine               compiler and kernels that cells train with here\n"
        "  muster show parameterization mup --optimizer adam --width 1024 --base-width 64\n"
        "      the table as applied to each tensor: init std, multiplier, learning rate, ε, weight decay\n"
        "  muster show parameterization mup --shapes model.py:build --width 1024 --base-width 64\n"
        "      the same for your own torch network, as rates for its tensors as they are\n"
        "  muster show parameterization completep --family resmlp --depth 24 --norm layer\n"
        "  muster show parameterization umup --family transformer --set heads=8 attention_scale=inverse",
    )  # fmt: skip
    show.add_argument("what", choices=tuple(SHOWN))
    nameless = " and ".join(what for what, kind in SHOWN.items() if not kind)
    show.add_argument("name", nargs="?", help=f"its name (not for {nameless})")
    _scope(show)
    table = show.add_argument_group("parameterization")
    table.add_argument(
        "--shapes", metavar="FILE.py:FUNCTION", help="your own network: a function from width to a torch.nn.Module"
    )
    table.add_argument("--optimizer", default="adam", help="optimizer (default: adam)")
    table.add_argument("--rule", help="learning-rate rule (default: full_alignment; spectral of a matrix optimizer)")
    table.add_argument("--width", type=_positive, default=1024, help="width (default: 1024)")
    table.add_argument("--base-width", type=_positive, default=64, help="base width (default: 64)")
    table.add_argument("--depth", type=_positive, default=3, help="hidden layers, or residual blocks (default: 3)")
    table.add_argument("--base-depth", type=_positive, default=3, help="base depth (default: 3)")
    table.add_argument("--family", default="mlp", help="family of networks (default: mlp)")
    table.add_argument("--norm", choices=("none", "layer", "rms"), help="normalization (default: the family's)")
    table.add_argument("--bias", action="store_true", help="with biases")
    table.add_argument("--block-layers", type=int, choices=(1, 2), help="layers of a residual block")
    table.add_argument("--branch-exponent", type=_finite, help="α of the branches' multiplier depth^(−α), if another")
    table.add_argument("--epsilon-rule", help="rule for ε (default: the parameterization's)")
    table.add_argument("--decay-rule", help="rule for weight decay (default: the parameterization's)")
    table.add_argument("--data", help="data set that gives the outer shapes (default: one that the family takes)")
    table.add_argument("--lr", type=_finite, default=1.0, help="learning rate at the base shape (default: 1)")
    table.add_argument("--eps", type=_finite, help="ε at the base shape (default: the optimizer's)")
    table.add_argument("--weight-decay", type=_finite, default=0.0, help="weight decay at the base shape (default: 0)")
    table.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="any other setting of `experiment: train`"
    )

    plan = _add(
        commands, "plan", "inspect:plan", "Say what a study would run: cells, members, FLOPs and time",
        "  muster plan mup-width-transfer --scale laptop\n"
        "  muster plan mup-width-transfer --cells     every cell with its folder",
    )  # fmt: skip
    plan.add_argument("studies", nargs="*", metavar="STUDY", help="studies (default: those of config.yaml)")
    plan.add_argument("--cores", type=_positive, help="cores for the time estimate (default: all)")
    plan.add_argument("--cells", action="store_true", help="list every cell")
    plan.add_argument("--json", action="store_true", help="one JSON line a cell, for `muster train --cell`")
    _scope(plan)

    power = _add(
        commands, "power", "power:power", "Say what a sweep, or runs for a law, could show, by simulation",
        "  muster power mup-width-transfer --scale laptop\n"
        "  muster power mup-width-transfer --seeds 5 --fit lr_exponent      what more seeds would buy\n"
        "  muster power mup-width-transfer --tau 0.1 --noise 0.01           a pessimist's view\n\n"
        "It draws sweeps on the study's grid, finds their optima and slopes as `muster fit` does, and counts. A claim\n"
        "that the rate does not move needs a design whose interval is shorter than the claim's margin; what lengthens\n"
        "it most is scatter between widths (tau), which more widths mend and more seeds do not.\n\n"
        "What the command line leaves open of noise, tau and curvature comes from the study's own table of runs, when\n"
        "there is one with three optima inside the grid (a run at another scale, a pilot); else 0.005, 0.05 and 0.02.\n"
        "Of a law it draws the losses of the runs at hand, or planned, at the coefficients that are published and\n"
        "claimed, and fits each table as `muster fit` does.",
    )  # fmt: skip
    power.add_argument("study")
    power.add_argument("--fit", metavar="NAME", help="one fit (default: all of learning-rate exponents and laws)")
    power.add_argument("--noise", type=_not_negative, metavar="SD", help="standard deviation of one run's ln loss")
    power.add_argument(
        "--tau", type=_not_negative, metavar="SD", help="of ln(optimal rate) between shapes, off the line"
    )
    power.add_argument("--curvature", type=_not_negative, metavar="C", help="of ln loss at its minimum, per octave²")
    power.add_argument(
        "--draws",
        type=_positive,
        metavar="N",
        help="simulated sweeps (default: 2000), tables of each law (24 in all)",
    )
    _results(power)
    _scope(power)

    decide = _add(
        commands, "decide", "decide:decide", "Run a study shape by shape and stop where its claims are decided",
        "  muster decide mup-width-transfer --budget 2h\n"
        "  muster decide mup-width-transfer --show                    the looks and what each needs, nothing is run\n"
        "  muster decide mup-width-transfer --claim mup-adam-rate-is-flat --budget 30m\n\n"
        "It looks at the slope after 5, 9, 17, … shapes, spread over the range, and stops once the slope is clearly\n"
        "inside the claim's region, or clearly outside. Several looks would raise the false verdicts of a plain test\n"
        "from 5 to more than 10 %; the bounds here allow for them. Interrupted, it goes on with the same command.",
    )  # fmt: skip
    decide.add_argument("study")
    decide.add_argument(
        "--claim", action="append", default=[], metavar="NAME", help="one claim (default: all that can)"
    )
    decide.add_argument("--budget", type=_duration, default=float("inf"), metavar="TIME", help="such as 90s, 30m, 2h")
    decide.add_argument("--show", action="store_true", help="show the looks, run nothing")
    decide.add_argument("--cores", type=_positive, metavar="N", help="cores (default: all)")
    _results(decide)
    _scope(decide)

    validate = _add(
        commands, "validate", "validate:validate", "Check config.yaml and studies at all scales, without running",
        "  muster validate                every file, and every mistake of each\n"
        "  muster validate relu-kurtosis  one study\n\n"
        "Columns, groups and values are held against the study's tables too, where <results>/tables has current ones,\n"
        "and against published tables that lie in the folder of sources.",
    )  # fmt: skip
    validate.add_argument("studies", nargs="*", metavar="STUDY", help="studies or groups (default: every file)")
    _sources(validate)
    _results(validate)
    _scope(validate)
    schema = _add(
        commands, "schema", "inspect:schema", "Write config/schema.json, from which editors complete and check YAML"
    )
    schema.add_argument("--output", type=Path, default=Path("config/schema.json"), metavar="FILE", help="- for stdout")


def _run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = _add(
        commands, "run", "run:run", "Run studies through Snakemake: what is already done is not done again",
        "  muster run relu-kurtosis --scale smoke\n  muster run mup-width-transfer --seeds 5 --cores 2\n"
        "  muster run mup-width-transfer -- --dry-run      what follows -- goes to snakemake",
    )  # fmt: skip
    run.add_argument("studies", nargs="+", metavar="STUDY", help="studies or groups")
    run.add_argument("--cores", default="all", help="cores (default: all)")
    run.add_argument("--results", type=Path, metavar="DIR", help="folder of everything made (default: config.yaml)")
    _scope(run)

    status = _add(
        commands, "status", "status:status", "Say what is done, running, failed or stale, what retries it, time left",
        "  muster status                 every study of config.yaml\n"
        "  muster status relu-kurtosis --scale smoke\n"
        "  muster status --why           also why Snakemake would run anything (takes a dry run)\n"
        "  watch -n 10 muster status     while a run goes on, in another terminal",
    )  # fmt: skip
    status.add_argument("studies", nargs="*", metavar="STUDY", help="studies or groups (default: those of config.yaml)")
    status.add_argument("--why", action="store_true", help="count Snakemake's reasons for all that is due, by rule")
    status.add_argument("--cores", type=_positive, help="cores for the time left when nothing runs (default: all)")
    _results(status)
    _scope(status)

    report = _add(
        commands, "report", "report:report", "Write Snakemake's HTML report of what exists: figures, ledger, run times",
        "  muster report                               every study of config.yaml\n"
        "  muster report relu-kurtosis --scale smoke   it runs nothing: see `muster run`",
    )  # fmt: skip
    report.add_argument("studies", nargs="*", metavar="STUDY", help="studies or groups (default: those of config.yaml)")
    report.add_argument("--output", type=Path, metavar="FILE", help="file (default: <results>/report.html)")
    report.add_argument("--settings", metavar="JSON", help=argparse.SUPPRESS)  # the whole configuration of a rule
    _results(report)
    _scope(report)

    page = _add(
        commands, "page", "page:page", "Write the ledger's page for browsers, from the ledger that is there",
        "  muster page                              <results>/ledger/index.html\n"
        "  muster page --results results/published  after an edit of a study's file: the published one",
    )  # fmt: skip
    page.add_argument("--scale", choices=SCALES, help="scale of the results (default: config.yaml)")
    _results(page)

    fetch = _add(
        commands, "fetch", "fetch:fetch", "Bring the data sets and published tables that studies need, and verify them",
        "  muster fetch                       all that the studies need; says at the end what failed\n"
        "  muster fetch fashion_mnist         one data set\n"
        "  muster fetch chinchilla-replication --sources ~/tables\n"
        "  muster fetch --missing             what the last run lacked, why, and how to get it; brings nothing\n\n"
        "What is brought has its published checksum, lies in the folder of sources, and is found there by every run:\n"
        "then run again, and only what lacked it is made. On a machine without a network, run this command on\n"
        "another, copy the folder, and name it: `sources:` in config/config.yaml, or MUSTER_SOURCES.\n\n"
        "The exit status is 1 if something that was asked for by name failed, else 0.",
    )  # fmt: skip
    fetch.add_argument("names", nargs="*", metavar="NAME", help="studies or data sets (default: all that is needed)")
    fetch.add_argument("--missing", action="store_true", help="say what the last run lacked, and how to get it")
    _sources(fetch)
    _results(fetch)

    publishing = _add(
        commands, "publish", "publish:publish", "Let the repository show complete runs, in results/published",
        "  muster publish relu-kurtosis                      shows which verdicts change, then asks\n"
        "  muster publish --scale laptop --yes               every study of config.yaml, without asking\n\n"
        "Published are tables, fits, figures (as small PNGs) and the ledger of all claims. Each study must\n"
        "be complete at its scale, made by the code as it is now; what is missing is said, with what mends it.",
    )  # fmt: skip
    publishing.add_argument(
        "studies", nargs="*", metavar="STUDY", help="studies or groups (default: those of config.yaml)"
    )
    publishing.add_argument("--scale", choices=SCALES, help="scale of the runs (default: config.yaml)")
    publishing.add_argument("--yes", action="store_true", help="do not ask")
    _results(publishing)
    _add(
        commands, "track", "track:track", "Put published tables under DVC, and say how to pass them on",
        "  muster publish relu-kurtosis && muster track",
    )  # fmt: skip
    restoring = _add(
        commands, "restore", "track:restore", "After `dvc pull`: published tables back into the folder of results",
        "  dvc pull results/published/tables/relu-kurtosis.dvc && muster restore relu-kurtosis\n"
        "  snakemake --cores 2 figures --config mode=replay studies=[relu-kurtosis]",
    )  # fmt: skip
    restoring.add_argument(
        "studies", nargs="*", metavar="STUDY", help="studies (default: all whose published tables are here)"
    )
    restoring.add_argument("--scale", choices=SCALES, help="scale they were published at (default: config.yaml)")
    _results(restoring)

    store = _add(
        commands, "store", "store:store", "Finished cells, kept by content: list, check or tidy them",
        "  muster store list                       what is kept, and for which cell and code\n"
        "  muster store verify                     every byte; damaged cells are named and set aside\n"
        "  muster store gc --days 30 --dry-run     what neither the plan nor anybody in 30 days wanted",
    )  # fmt: skip
    store.add_argument("action", choices=("list", "verify", "gc"))
    store.add_argument("--store", type=Path, metavar="DIR", help="folder (default: MUSTER_STORE, config.yaml)")
    store.add_argument("--days", type=_not_negative, default=90.0, help="gc: keep what was used since (default: 90)")
    store.add_argument("--dry-run", action="store_true", help="gc: remove nothing")
    _results(store)

    export = _add(
        commands, "export", "export:export", "Write a study's learning curves for TensorBoard",
        "  muster export mup-width-transfer      then: tensorboard --logdir tensorboard/mup-width-transfer",
    )  # fmt: skip
    export.add_argument("study")
    export.add_argument("--output", type=Path, metavar="DIR", help="folder (default: tensorboard/STUDY)")
    export.add_argument("--scale", choices=SCALES, help="preset of the grid (default: config.yaml)")
    _results(export)

    new = _add(
        commands, "new-study", "new_study:new_study", "Write a commented study file to start from",
        "  muster new-study my-width-sweep\n  muster new-study my-spectra --experiment matrix_product",
    )  # fmt: skip
    new.add_argument("name", help="lower-case words joined by -; also the file's name")
    new.add_argument("--experiment", default="train", help="experiment (default: train)")


def _own_table(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    table = _add(
        commands, "fit-table", "fit_table:fit_table",
        "Fit your own sweep: optima, exponent, verdict, what to run next; or a scaling law: --law",
        "  muster fit-table sweep.csv --predict width=8192\n\n"
        "      sweep.csv (any program's; exports as they are)        what is printed\n"
        "      width,lr,seed,loss                                    the best lr of each width, with interval\n"
        "      64,0.001,0,2.31                                       d ln lr / d ln width: 0 if lr transfers\n"
        "      64,0.002,0,2.27                                       a verdict: is |exponent| at most --margin?\n"
        "      ...                                                   lr and loss at width 8192, with intervals\n\n"
        "  muster fit-table wandb.csv --x config.lr --y summary.val_loss --scale config.n_embd --by config.optimizer\n"
        "  muster fit-table trials.jsonl.gz --y accuracy --maximize --adjust weight_decay\n"
        "  muster fit-table sweep.csv --x batch_size --scale params --select lr=0.001 --output out --json\n"
        "  muster fit-table runs.csv --law 'E + A/N^alpha + B/D^beta' --n params --d tokens \\\n"
        "      --hold-out 'flops > 1e21' --predict N=7e10,D=1.4e12\n\n"
        "five values of x around the best, and three values of the scale axis, are the least that decides anything",
    )  # fmt: skip
    table.add_argument(
        "sweep", metavar="FILE",
        help="CSV (any delimiter), JSON, JSON lines, Parquet, each also .gz; an Optuna storage, an MLflow folder: one "
        "row a run, or a row per step",
    )  # fmt: skip
    table.add_argument("--x", metavar="COLUMN", help="swept hyperparameter, as plain numbers (default: the rate)")
    table.add_argument("--y", metavar="COLUMN", help="loss, positive, lower is better (default: the loss)")
    table.add_argument("--maximize", action="store_true", help="--y is a score: higher is better")
    table.add_argument("--scale", metavar="COLUMN", help="axis of transfer (default: width, n_embd, d_model, …)")
    table.add_argument("--seed", metavar="COLUMN", help="replicate; without it every point is one run")
    table.add_argument(
        "--by", nargs="+", default=[], metavar="COLUMN", help="columns whose values are fitted separately"
    )
    table.add_argument("--select", nargs="+", default=[], metavar="COLUMN=VALUE", help="rows that are read")
    table.add_argument(
        "--adjust", nargs="+", default=[], metavar="COLUMN",
        help="numbers that varied at once with x: a response surface takes them out",
    )  # fmt: skip
    table.add_argument("--run", metavar="COLUMN", help="of a history: which run a row belongs to")
    table.add_argument("--step", metavar="COLUMN", help="of a history: the step, epoch or iteration")
    table.add_argument(
        "--finished", nargs="+", default=[], metavar="STATE", help="further words for runs that finished"
    )
    table.add_argument("--any-end", action="store_true", help="count runs that end far before the others, too")
    table.add_argument(
        "--margin", type=_not_negative, default=None, help="|exponent| that still counts as transfer (default: 0.1)"
    )
    table.add_argument(
        "--predict", metavar="NAME=VALUE[,VALUE]",
        help="predict the best x and the loss there; of a law the loss: N=1e10,D=2e11",
    )  # fmt: skip
    law = table.add_argument_group("a law of the loss, instead of an optimum")
    law.add_argument(
        "--law", metavar="FORMULA", help="such as 'E + A/N^alpha + B/D^beta': columns, and parameters that are fitted"
    )
    law.add_argument("--n", metavar="COLUMN", help="column of N in the law (default: params, n_params, …)")
    law.add_argument("--d", metavar="COLUMN", help="column of D in the law (default: tokens, n_tokens, …)")
    law.add_argument("--column", nargs="+", default=[], metavar="NAME=COLUMN", help="columns of other names in the law")
    law.add_argument(
        "--hold-out",
        metavar="CONDITION",
        help="runs that are predicted, not fitted: 'flops > 1e21', '6*N*D > 1e21'; each: every cluster in turn",
    )
    dependence = law.add_mutually_exclusive_group()
    dependence.add_argument(
        "--clusters", metavar="COLUMN", help="runs that share its value depend on each other: a family, checkpoints"
    )
    dependence.add_argument("--independent", action="store_true", help="runs that share a size do not")
    table.add_argument("--output", type=Path, metavar="DIR", help="write tables (CSV) and figures (SVG, PNG) there")
    table.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def _stages(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    data = _add(
        commands, "data", "stages:make_data", "Stage data: make one data set with its manifest",
        """  muster data mnist1d --options '{"train": 4000, "heldout": 1000}'""",
    )  # fmt: skip
    data.add_argument("name", help="a registered data set")
    data.add_argument("--options", default="{}", metavar="JSON", help="its options")
    _results(data)
    data.add_argument("--state", default="", help=argparse.SUPPRESS)
    _sources(data)
    for stage, what in (
        ("train", "train one cell: all its members side by side"),
        ("sample", "sample one cell"),
        ("command", "call your own training script for one cell, once per learning rate"),
        ("import", "read one published table, found on disk or downloaded"),
    ):
        cell = _add(
            commands, stage, "stages:run_cell", f"Stage {stage}: {what}",
            f"  muster {stage} 3f2a91c0de                  a cell of the plan, by digest or folder name\n"
            f"  muster {stage} --cell \"$(cat cell.json)\"   the resolved settings themselves",
        )  # fmt: skip
        which = cell.add_mutually_exclusive_group(required=True)
        which.add_argument("name", nargs="?", help="folder name or digest of a planned cell")
        which.add_argument(
            "--cell", metavar="JSON", help="resolved settings, as cell.json and `muster plan --json` hold them"
        )
        cell.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: cuda when present")
        if stage == "import":
            _sources(cell)
        _planned(cell)
        _results(cell)
        _scope(cell)
    for stage, function, summary in (
        ("collect", "collect_study", "Stage collect: one study's cells become three tables"),
        ("fit", "fit", "Stage fit: fit a study's models to its tables"),
        ("specify", "specify", "Stage fit: fit them again under every reasonable choice of estimator"),
    ):
        command = _add(commands, stage, f"stages:{function}", summary)
        command.add_argument("study")
        _planned(command)
        _results(command)
        _scope(command)
    judge = _add(
        commands, "judge", "stages:judge_studies", "Stage judge: hold every claim against its fit, write the ledger"
    )
    judge.add_argument("--studies", nargs="*", default=[], metavar="STUDY", help="studies whose fits must exist")
    _planned(judge)
    _results(judge)
    _scope(judge)
    plot = _add(
        commands, "plot", "stages:plot", "Stage plot: draw one figure of a study as SVG and PNG",
        "  muster plot mup-width-transfer sweep_adam --scale laptop\n  muster plot overview forest",
    )  # fmt: skip
    plot.add_argument("study", help="a study, or `overview` for the whole ledger")
    plot.add_argument("figure")
    _planned(plot)
    _results(plot)
    _scope(plot)
