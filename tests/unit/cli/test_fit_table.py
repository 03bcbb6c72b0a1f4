"""`muster fit-table`: other people's sweeps, well-formed and not, and what is predicted from them."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from muster.cli import main
from muster.errors import MusterError
from muster.fitting.optimum.predict_lr import line_interval, predict_loss, predict_lr, reach
from muster.tables.sweeps import Columns, Sweep, read_sweep

WIDTHS = (64, 128, 256, 512, 1024)
RATES = tuple(2.0**k for k in range(-12, -3))
Row = dict[str, Any]


def sweep(
    slope: float = 0.0, seeds: int = 1, noise: float = 0.0, widths: Sequence[int] = WIDTHS, scatter: float = 0.0
) -> list[Row]:
    """Runs of L(w) · exp(0.02 (log2 lr − opt)²) with L = 2 + 8 w^−½ and opt = −8 + slope · log2(w/64)."""
    rng = np.random.default_rng(0)
    rows = []
    for w in widths:
        opt = -8 + slope * math.log2(w / 64) + scatter * rng.standard_normal()
        for seed in range(seeds):
            for lr in RATES:
                loss = (2 + 8 * w**-0.5) * math.exp(0.02 * (math.log2(lr) - opt) ** 2 + noise * rng.standard_normal())
                rows.append({"width": w, "lr": lr, "seed": seed, "loss": loss})
    return rows


def write(path: Path, rows: Sequence[Row], rename: dict[str, str] | None = None) -> Path:
    """A CSV whose headers are quoted, as W&B writes them."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow([(rename or {}).get(name, name) for name in rows[0]])
        writer.writerows([row.values() for row in rows])
    return path


@pytest.fixture
def fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(rows: Sequence[Row] | Path, *options: str, rename: dict[str, str] | None = None) -> dict[str, Any]:
        path = rows if isinstance(rows, Path) else write(tmp_path / "sweep.csv", rows, rename)
        capsys.readouterr()
        assert main(["fit-table", str(path), "--json", *options]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def primary(result: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in result["exponents"] if row["primary"])


def predicted(result: dict[str, Any], quantity: str, model: str) -> dict[str, Any]:
    return next(row for row in result["predictions"] if (row["quantity"], row["model"]) == (quantity, model))


Fit = Callable[..., dict[str, Any]]


def test_a_clean_sweep_gives_back_what_made_it(fit: Fit) -> None:
    result = fit(sweep(slope=-0.5, seeds=2, noise=1e-9), "--seed", "seed", "--predict", "width=4096")
    assert [row["scale"] for row in result["optima"]] == list(WIDTHS)
    assert [row["optimum"] for row in result["optima"]] == pytest.approx(
        [2.0**k for k in (-8, -8.5, -9, -9.5, -10)], rel=1e-5
    )
    assert [row["loss"] for row in result["optima"]] == pytest.approx([2 + 8 * w**-0.5 for w in WIDTHS], rel=1e-5)
    assert primary(result)["estimate"] == pytest.approx(-0.5, abs=1e-6)
    assert predicted(result, "lr", "line")["value"] == pytest.approx(2.0**-11, rel=1e-5)
    assert predicted(result, "loss", "power_offset")["value"] == pytest.approx(2 + 8 / 64, rel=1e-4)
    assert predicted(result, "loss", "power")["status"] == "bent"
    assert result["verdicts"][0]["verdict"] == "refuted"


def test_the_verdict_is_that_of_the_equivalence_test(fit: Fit) -> None:
    rows = sweep(seeds=3, noise=0.003, scatter=0.05)
    result = fit(rows, "--seed", "seed")
    slope, verdict = primary(result), result["verdicts"][0]
    p = [stats.t.sf((0.1 - sign * slope["estimate"]) / slope["se"], slope["dof"]) for sign in (1, -1)]
    assert verdict["p_support"] == pytest.approx(max(p), rel=1e-4)
    assert verdict["verdict"] == "supported"
    assert fit(rows, "--seed", "seed", "--margin", "0.02")["verdicts"][0]["verdict"] == "inconclusive"


def test_groups_have_their_own_verdicts_after_holm(fit: Fit) -> None:
    rows = [{"opt": name, **row} for name, slope in (("sgd", -1.0), ("adam", 0.0)) for row in sweep(slope, 2, 1e-3)]
    result = fit(rows, "--by", "opt", "--seed", "seed")
    verdicts = {row["group"]["opt"]: row for row in result["verdicts"]}
    assert (verdicts["adam"]["verdict"], verdicts["sgd"]["verdict"]) == ("supported", "refuted")
    assert verdicts["adam"]["p_adjusted"] == pytest.approx(2 * verdicts["adam"]["p_support"], rel=1e-4)


def test_without_seeds_every_point_is_one_run(fit: Fit) -> None:
    result = fit([{k: v for k, v in row.items() if k != "seed"} for row in sweep(noise=1e-3)])
    assert result["runs"] == {
        "count": 45, "diverged": 0, "groups": 1, "values_of_scale": 5, "values_of_x": 9, "seeds": None
    }  # fmt: skip
    assert primary(result)["status"] == "ok"
    assert all(row["status"] == "interior" for row in result["optima"])


WANDB = {"width": "config.width", "lr": "config.lr", "seed": "config.seed", "loss": "summary.loss"}


def wandb(rows: Sequence[Row]) -> list[Row]:
    return [
        {"Name": f"run-{i}", "state": "finished", "_runtime": 3.5, "_step": 99, **row} for i, row in enumerate(rows)
    ]


def test_forms_of_one_sweep_give_one_result(fit: Fit, tmp_path: Path) -> None:
    rows = sweep(-0.2, 2, 1e-3, widths=(64, 128, 256))
    plain = fit(rows, "--seed", "seed")
    shuffled = fit([rows[i] for i in np.random.default_rng(1).permutation(len(rows))], "--seed", "seed")
    exported = fit(wandb(rows), "--seed", "seed", rename=WANDB)
    slashed = fit(wandb(rows), "--seed", "seed", rename={"lr": "config/lr", "loss": "summary/loss"})
    spelled = fit([{**row, "lr": f"{row['lr']:.10e}"} for row in rows], "--seed", "seed")
    pd.DataFrame(rows).to_parquet(tmp_path / "sweep.parquet")
    parquet = fit(tmp_path / "sweep.parquet", "--seed", "seed")
    for other in (shuffled, exported, slashed, spelled, parquet):
        assert other["optima"] == plain["optima"]
        assert other["exponents"] == plain["exponents"]
    assert "lr is read from column 'config.lr'" in exported["notes"]


def history(rows: Sequence[Row], name: str = "_step") -> list[Row]:
    """Three logged losses a run, the last one final, and a step at the end that logged something else."""
    steps = [(0, 9.0), (50, 5.0), (100, None), (120, "")]
    return [{name: step, **row, "loss": row["loss"] if loss is None else loss} for row in rows for step, loss in steps]


@pytest.mark.parametrize("name", ["_step", "step", "trainer/global_step"])
def test_of_a_history_the_last_logged_step_counts(fit: Fit, name: str) -> None:
    rows = sweep(-0.2, 2, 1e-3)
    result = fit(history(rows, name), "--seed", "seed")
    assert result["optima"] == fit(rows, "--seed", "seed")["optima"]
    assert result["notes"] == [f"360 rows are the history of 90 runs; the last {name} with a loss counts: step 100"]


def test_a_history_that_ends_in_nan_is_diverged(tmp_path: Path) -> None:
    rows = history(sweep(widths=(64,)))
    rows[2]["loss"] = "NaN"
    table = read(tmp_path, rows)
    assert table.runs["diverged"].tolist() == [True] + [False] * 8


def read(tmp_path: Path, rows: Sequence[Row], **columns: Any) -> Sweep:
    return read_sweep(write(tmp_path / "s.csv", rows), Columns(**{"x": "lr", "y": "loss", "scale": "width", **columns}))


@pytest.mark.parametrize("loss", ["nan", "NaN", "inf", "-Infinity", "1e999", ""])
def test_a_loss_that_is_not_finite_is_diverged_and_counted(loss: str, tmp_path: Path) -> None:
    rows = sweep(widths=(64,))
    rows[-1]["loss"] = loss
    found = read(tmp_path, rows)
    assert found.runs["diverged"].tolist() == [False] * 8 + [True]
    assert math.isnan(found.runs["loss"].iloc[-1])
    assert found.notes == ["1 of 9 runs have no finite loss and count as diverged"]


def test_runs_that_did_not_finish_are_left_out_unless_they_diverged(tmp_path: Path) -> None:
    rows = wandb(sweep(widths=(64,)))
    rows[0] |= {"state": "crashed"}
    rows[1] |= {"state": "killed", "loss": ""}
    rows[8] |= {"state": "crashed", "loss": "NaN"}
    found = read(tmp_path, rows)
    assert len(found.runs) == 7
    assert found.runs["diverged"].sum() == 1
    assert found.notes[0] == "left out, as their last loss is not a final one: 1 crashed, 1 killed"


def test_a_column_called_state_may_mean_something_else(tmp_path: Path) -> None:
    rows = [{"state": "Texas", **row} for row in sweep(widths=(64,))]
    assert len(read(tmp_path, rows).runs) == 9


def test_seeds_that_do_not_share_their_rates_are_said(tmp_path: Path) -> None:
    rows = [row for row in sweep(seeds=2, widths=(64, 128)) if row["seed"] == 0 or row["lr"] > 2**-10.5]
    assert read(tmp_path, rows, seed="seed").notes == [
        "4 pairs of seed and lr have no run: means over seeds are adjusted for that"
    ]


def test_select_compares_numbers_as_numbers(tmp_path: Path) -> None:
    rows = [{"bs": f"{bs:.1f}", **row} for bs in (32, 64) for row in sweep(widths=(64,))]
    assert len(read(tmp_path, rows, select={"bs": "64"}).runs) == 9


def changed(index: int, **values: Any) -> list[Row]:
    rows = sweep()
    rows[index] |= values
    return rows


def repeated() -> list[Row]:
    return [*sweep(), sweep()[3]]


def differing() -> list[Row]:
    return [{**row, "batch": batch} for batch in (1, 2) for row in sweep()]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (sweep(), ["--x", "lrs"], "s.csv: no column 'lrs'. Did you mean 'lr'?"),
        (sweep(), ["--y", "los"], "no column 'los'. Did you mean 'loss'?"),
        (sweep(), ["--by", "optimizer"], "no column 'optimizer'. Known: width, lr, seed, loss"),
        (sweep(), ["--adjust", "warmup,"], "no column 'warmup'. Known"),
        (changed(4, loss="low"), [], "s.csv line 6, column 'loss': 'low' is no number"),
        (changed(4, lr="fast"), [], "s.csv line 6, column 'lr': 'fast' is no number"),
        (changed(4, lr=""), [], "s.csv line 6, column 'lr': the cell is empty"),
        (changed(4, lr=-0.1), [], "s.csv line 6, column 'lr': found -0.1. It must be a positive number"),
        (changed(4, lr=0), [], "column 'lr': found 0."),
        (changed(4, width="nan"), [], "column 'width': found nan"),
        (changed(4, loss=-0.25), [], "s.csv line 6, column 'loss': found -0.25. The optimum is sought in ln(loss)"),
        (changed(4, loss=0), [], "column 'loss': found 0."),
        (repeated(), [], "s.csv line 5 and line 47: 2 rows share width 64, lr 0.001953125. Keep one row a run"),
        (differing(), [], "they differ in batch. Tell them apart: --by batch, or --select batch=VALUE"),
        ([{"_step": 9, **row} for row in differing()], [], "2 rows share width 64, lr 0.000244140625; they"),
        ([{"steps": k, **row} for row in sweep() for k in (5, 9)], [], "--step steps if they are one run's"),
        (sweep(), ["--select", "width=65"], "--select width=65: no such row. width holds: 64, 128, 256, 512, 1024"),
        (sweep(), ["--select", "width"], "--select: found 'width'. Write column=value"),
        (sweep(), ["--predict", "depth=3", "--scale", "width"], "--predict: found 'depth=3'. Write width=VALUE"),
        (sweep(), ["--predict", "depth=3"], "s.csv: no column 'depth'"),
        (sweep(), ["--predict", "width=-3"], "Write width=VALUE, a positive number"),
        (sweep(), ["--predict", "4096"], "--predict: found '4096'. Write width=VALUE, a positive number"),
        (sweep(), ["--predict", "width=many"], "Write width=VALUE, a positive number"),
        (sweep(), ["--margin", "0"], "--margin: found 0"),
        (sweep(), ["--by", "width"], "--by: 'width' is --scale already"),
        (sweep(), ["--by", "seed"], "'seed' is a name that muster needs itself"),
        ([{**row, "config.rate": 1, "summary.rate": 2} for row in sweep()], ["--x", "rate"],
         "'rate' may be 'config.rate' or 'summary.rate'. Give the full name"),
        ([{**row, "state": "running"} for row in sweep()], [], "no run finished: 45 running"),
    ],
)  # fmt: skip
def test_wrong_cells_are_one_line_that_names_them(
    rows: list[Row], options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit-table", str(write(tmp_path / "s.csv", rows)), *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", b"", "the file is empty"),
        ("s.csv", b"width,lr,loss\n", "no row below the header"),
        ("s.csv", b"width\n64\n", "one column, 'width'. Separate cells by commas"),
        ("s.csv", b"width,lr,loss\n64,0.1,2\n64,0.2,2,9\n", "line 3: 4 cells, but the header has 3"),
        ("s.csv", b"width,lr,lr,loss\n64,0.1,0.1,2\n", "two columns are called 'lr'"),
        ("s.csv", b"\x89PNG\r\n\x1a\n\xff\xfe", "not a table of text"),
        ("s.parquet", b"width,lr,loss\n", "not a readable Parquet file"),
        ("none.csv", None, "no such file"),
    ],
)
def test_what_is_no_table_is_said(
    name: str, content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["fit-table", str(tmp_path / name)]) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path / name}" in err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_parquet_null_is_empty_and_a_nan_is_not(tmp_path: Path) -> None:
    rows = wandb(sweep(widths=(64,)))
    rows[0] |= {"state": "crashed", "loss": None}
    rows[1] |= {"state": "crashed", "loss": math.nan}
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    found = read_sweep(tmp_path / "s.parquet", Columns("lr", "loss", "width"))
    assert len(found.runs) == 8
    assert found.runs["diverged"].tolist() == [True] + [False] * 7


@pytest.mark.parametrize(
    ("rows", "status", "reason"),
    [
        ([row for row in sweep() if row["width"] == 64], "interior", "1 of 1 shapes have an interior optimum"),
        ([row for row in sweep() if 2**-9.5 < row["lr"] < 2**-6.5], "edge", "0 of 5 shapes"),
        ([row for row in sweep() if row["lr"] < 2**-7.5], "edge", "0 of 5 shapes"),
        ([{**row, "loss": "nan"} for row in sweep()], "diverged", "0 of 5 shapes"),
        ([{**row, "loss": 2.0 - (row["lr"] == 2**-8)} for row in sweep()], "flat", "0 of 5 shapes"),
    ],
)
def test_a_sweep_that_cannot_decide_says_why(
    rows: list[Row], status: str, reason: str, fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = fit(rows, "--predict", "width=2048")
    assert {row["status"] for row in result["optima"]} == {status}
    assert primary(result)["status"] == "too_few"
    assert result["verdicts"][0]["verdict"] == "no measurement"
    assert reason in result["verdicts"][0]["reason"]
    assert {row["status"] for row in result["predictions"]} == {"too_few"}
    assert all(row["value"] is None for row in result["predictions"])
    assert main(["fit-table", str(tmp_path / "sweep.csv")]) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (lambda lr: 2**-9.5 < lr < 2**-6.5, "3 values of lr: an interior optimum needs 5"),
        (lambda lr: lr < 2**-7.5, "the best is the largest lr: sweep larger ones"),
        (lambda lr: lr > 2**-8.5, "the best is the smallest lr: sweep smaller ones"),
        (lambda lr: lr < 2**-6.5, "one finite value of lr larger than the best"),
    ],
)
def test_an_optimum_that_was_not_found_comes_with_a_remedy(
    keep: Callable[[float], bool], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in sweep() if keep(row["lr"])]
    assert main(["fit-table", str(write(tmp_path / "s.csv", rows))]) == 0
    assert f"edge: {reason}" in capsys.readouterr().out


def test_no_advice_to_sweep_what_is_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Smaller rates are there, and none of their runs has a finite loss."""
    rows = [row | ({"loss": float("nan")} if row["lr"] < 2**-8.5 else {}) for row in sweep()]
    assert main(["fit-table", str(write(tmp_path / "s.csv", rows))]) == 0
    out = capsys.readouterr().out
    assert (
        "edge: the best is the smallest lr with a finite loss in every run; the 4 smaller ones in the file diverged"
        in out
    )
    assert "sweep smaller ones" not in out


def test_the_text_tells_the_whole_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "s.csv", sweep(seeds=3, noise=0.003, scatter=0.05))
    assert main(["fit-table", str(path), "--seed", "seed", "--predict", "width=2048,16384"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: 135 runs, 5 values of width, 9 of lr, 3 seeds; loss: loss"
    assert lines[2].split()[:3] == ["width", "best", "lr"]
    assert [line.split()[0] for line in lines[3:8]] == ["64", "128", "256", "512", "1024"]
    assert lines[8].startswith("  exponent  d ln lr / d ln width = ")
    assert (
        sum(line.startswith("  transfer  supported (|exponent| ≤ 0.1): within [-0.1, 0.1]: p = ") for line in lines)
        == 1
    )
    assert sum(line.startswith("  at width 2048  ") for line in lines) == 3
    (warning,) = [line for line in lines if line.startswith("  warning")]
    assert "width 16384 lies 16 times beyond the optima found" in warning


def test_output_holds_tables_and_figures(fit: Fit, tmp_path: Path) -> None:
    rows = [{"batch_size": 2**-12 / row["lr"] * 4096, **row} for row in sweep(seeds=2, noise=1e-3)]
    result = fit(
        rows, "--x", "batch_size", "--seed", "seed", "--predict", "width=2048", "--output", str(tmp_path / "out")
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *["exponents.csv", "lr_sweep.png", "lr_sweep.svg", "optima.csv", "optimum_vs_axis.png", "optimum_vs_axis.svg"],
        *["predictions.csv", "verdicts.csv"],
    ]
    optima = pd.read_csv(tmp_path / "out/optima.csv")
    assert optima["optimum"].tolist() == pytest.approx([row["optimum"] for row in result["optima"]])
    assert optima["optimum"].tolist() == pytest.approx([256] * len(optima), rel=0.05)


@pytest.mark.parametrize(("x", "name"), [("batch_size", "batch_size"), ("lr", "learning rate (dimensionless)")])
def test_figures_name_the_swept_hyperparameter(
    x: str, name: str, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muster import plots

    labels = []

    def keep(figure: Any, *_: Path) -> None:
        labels.append((figure.get_suptitle(), figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()))

    monkeypatch.setattr(plots, "save", keep)
    fit([{"batch_size": 1 / row["lr"], **row} for row in sweep()], "--x", x, "--output", str(tmp_path))
    (sweep_title, sweep_x, _), (optimum_title, _, optimum_y) = labels
    assert (sweep_x, optimum_y.replace("\n", " ")) == (name, f"optimal {name}")
    word = name.removesuffix(" (dimensionless)")
    assert f"against {word}, by width" in " ".join(sweep_title.split())
    assert optimum_title.startswith(f"Optimal {word} against width")


@pytest.mark.parametrize("rows", [sweep(widths=(64,)), [{**row, "loss": "nan"} for row in sweep(widths=(64, 128))]])
def test_sweeps_without_a_slope_have_figures(rows: list[Row], fit: Fit, tmp_path: Path) -> None:
    fit(rows, "--output", str(tmp_path / "out"))
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv", ".png", ".svg"}


def test_five_groups_have_figures(fit: Fit, tmp_path: Path) -> None:
    rows = [{"depth": depth, **row} for depth in range(5) for row in sweep(noise=1e-3, widths=(64, 128, 256))]
    assert len(fit(rows, "--by", "depth", "--output", str(tmp_path / "out"))["verdicts"]) == 5
    assert (tmp_path / "out/lr_sweep.svg").exists()


def test_the_prediction_interval_is_that_of_the_textbook() -> None:
    x, y = np.log([64, 128, 256, 512, 1024]), np.array([-8.0, -8.2, -8.1, -8.6, -8.4])
    at = np.log(4096)
    slope, intercept = np.polyfit(x, y, 1)
    s = np.sqrt(np.square(y - intercept - slope * x).sum() / 3)
    half = stats.t.ppf(0.975, 3) * s * np.sqrt(1 + 1 / 5 + (at - x.mean()) ** 2 / np.square(x - x.mean()).sum())
    middle = intercept + slope * at
    assert line_interval(x, y, at) == pytest.approx((middle, middle - half, middle + half))
    found = predict_lr(np.exp(x), y, 4096)
    assert (found.value, found.low, found.high) == pytest.approx(
        (2**middle, 2 ** (middle - half), 2 ** (middle + half))
    )


def test_prediction_intervals_hold_the_next_width_as_often_as_they_say() -> None:
    """Optima with scatter between widths: a confidence band of the line would cover far less."""
    rng = np.random.default_rng(5)
    x = np.array([64.0, 128, 256, 512, 1024])
    hits = 0
    for _ in range(400):
        optima = -8 - 0.3 * np.log2(np.append(x, 4096) / 64) + 0.3 * rng.standard_normal(6)
        found = predict_lr(x, optima[:5], 4096)
        hits += found.low <= 2 ** optima[5] <= found.high
    assert 0.92 < hits / 400 < 0.98


def test_the_loss_under_a_law_with_offset() -> None:
    """Against a fit by another route: least squares in ln loss by scipy, its Jacobian by finite differences."""
    from scipy.optimize import approx_fprime, least_squares

    rng = np.random.default_rng(2)
    x = np.array([32.0, 64, 128, 256, 512, 1024, 2048])
    y = (2 + 8 * x**-0.5) * np.exp(0.002 * rng.standard_normal(7))

    def law(theta: np.ndarray, at: Any) -> Any:
        return np.log(theta[0] + theta[1] * at ** -theta[2])

    fit = least_squares(lambda theta: law(theta, x) - np.log(y), [1.5, 5, 0.4], x_scale="jac", xtol=1e-15, ftol=1e-15)
    gradient = approx_fprime(fit.x, lambda theta: law(theta, 8192.0), 1e-7)
    variance = 2 * fit.cost / 4 * (1 + gradient @ np.linalg.inv(fit.jac.T @ fit.jac) @ gradient)
    half = stats.t.ppf(0.975, 4) * np.sqrt(variance)
    middle = law(fit.x, 8192.0)
    power, offset = predict_loss(x, y, 8192)
    assert power.status == "bent"
    assert offset.value == pytest.approx(np.exp(middle), rel=1e-5)
    assert (offset.low, offset.high) == pytest.approx((np.exp(middle - half), np.exp(middle + half)), rel=1e-3)


def test_a_pure_power_law_leaves_the_offset_out() -> None:
    x = np.array([64.0, 128, 256, 512, 1024])
    noise = np.array([1, -1, 0.5, 1, -1]) * 1e-3
    power, offset = predict_loss(x, 3 * x**-0.3 * np.exp(noise), 4096)
    assert power.value == pytest.approx(3 * 4096**-0.3, rel=0.01)
    assert power.low < 3 * 4096**-0.3 < power.high
    assert offset.status == "not_identified" or offset.high > power.value > offset.low


@pytest.mark.parametrize(
    ("at", "factor", "far"),
    [(512, 1, False), (4095, 3.999, False), (4097, 4.001, True), (17, 3.765, False), (15.9, 4.025, True)],
)
def test_far_is_more_than_half_the_swept_range(at: float, factor: float, far: bool) -> None:
    found = reach([64, 256, 1024], at)
    assert found.factor == pytest.approx(factor, rel=1e-3)
    assert found.far is far


def test_columns_have_one_role_each() -> None:
    with pytest.raises(MusterError, match="'loss' is --x already"):
        Columns("loss", "loss", "width").check()
    with pytest.raises(MusterError, match="muster needs itself"):
        Columns("lr", "diverged", "width").check()


def test_a_published_sweep(fit: Fit, shared_data: Path) -> None:
    """StepLaw's table: other people's columns, learning rates in half octaves, one run a point."""
    path = shared_data / "steplaw/dense_lr_bs_loss.csv"
    result = fit(path, "--y", "smooth loss", "--scale", "D", "--by", "N", "--select", "bs=256", "--predict", "D=1e11")
    assert result["runs"]["count"] == 192
    assert [row["group"]["N"] for row in result["verdicts"]] == [
        *[214663680, 268304384, 429260800, 536872960, 1073741824]
    ]
    best = {(row["group"]["N"], row["scale"]): row for row in result["optima"]}
    assert best[1073741824, 5.69e10]["status"] == "edge"
    raw = pd.read_csv(path)
    cell = raw[(raw["bs"] == 256) & (raw["N"] == 536872960) & (raw["D"] == 10000000000)].set_index("lr")["smooth loss"]
    found = best[536872960, 1e10]
    assert abs(math.log2(found["optimum"] / cell.idxmin())) < 0.5
    assert found["loss"] == pytest.approx(cell.min(), rel=2e-3)
    # Three or four sizes leave an interval of many margins.
    assert {row["verdict"] for row in result["verdicts"]} == {"no measurement"}
