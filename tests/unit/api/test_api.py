"""muster.api: what a notebook gets, and that the command line gets the same."""

import json
import math
import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from muster import api
from muster.cli import main
from muster.errors import MusterError

ROOT = Path(__file__).parents[3]
WIDTHS = (64, 128, 256, 512, 1024)


def sweep(slope: float = 0.0, noise: float = 1e-3, seeds: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for width in WIDTHS:
        best = -8 + slope * math.log2(width / 64)
        for seed in range(seeds):
            for log2_lr in range(-12, -3):
                loss = 3 * math.exp(0.02 * (log2_lr - best) ** 2 + noise * rng.standard_normal())
                rows.append({"width": width, "lr": 2.0**log2_lr, "seed": seed, "loss": loss})
    return pd.DataFrame(rows)


def test_the_command_line_prints_what_the_function_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.csv"
    sweep().to_csv(path, index=False)
    found = api.fit_table(path, seed="seed", predict=[4096])
    assert main(["fit-table", str(path), "--seed", "seed", "--predict", "width=4096"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == found.summary()
    assert main(["fit-table", str(path), "--seed", "seed", "--predict", "width=4096", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(found.json())


def test_results_are_frames_and_figures() -> None:
    found = api.fit_table(sweep(-0.5), by=[], seed="seed", predict=[4096])
    assert found.optima["status"].eq("interior").all()
    assert found.optima["optimum"].iloc[0] == pytest.approx(2.0**-8, rel=0.02)
    assert found.exponents["estimate"].iloc[0] == pytest.approx(-0.5, abs=0.02)
    assert found.verdicts["claim"].tolist() == ["transfer", "regret", "limit"]
    assert found.verdicts["verdict"].iloc[0] == "refuted"
    assert found.predictions["value"].iloc[0] == pytest.approx(2.0**-11, rel=0.05)
    assert isinstance(found.plot(), matplotlib.figure.Figure)
    with pytest.raises(MusterError, match="no figure 'bars'"):
        found.plot("bars")


def test_the_best_rate_of_one_network_needs_no_axis() -> None:
    found = api.optimum(sweep()[lambda frame: frame["width"] == 64], seed="seed")
    assert found.optima["optimum"].tolist() == pytest.approx([2.0**-8], rel=0.02)


def test_an_exponent_of_known_optima() -> None:
    found = api.transfer(
        WIDTHS, [0.01 * (w / 64) ** -0.5 * f for w, f in zip(WIDTHS, (1, 1.01, 0.99, 1, 1.01), strict=True)]
    )
    assert found.estimate == pytest.approx(-0.5, abs=0.02)
    assert found.verdict == "refuted"
    with pytest.raises(MusterError, match="Give three or more"):
        api.transfer([1, 2], [1, 2])


def test_optima_that_approach_a_limit_never_refute_it() -> None:
    """lr* = lr∞ (1 − 5/√n), as the theorem allows; and n^-0.9, which it does not."""

    def frame(best: Any) -> pd.DataFrame:
        widths = (128, 192, 256, 384, 512, 768)
        return pd.DataFrame(
            [{"width": w, "lr": 2.0**k, "loss": 2 * math.exp(0.02 * (k - math.log2(best(w))) ** 2)}
             for w in widths for k in np.arange(-13, -2, 0.5)]
        )  # fmt: skip

    converging = api.fit_table(frame(lambda w: 0.0117 * (1 - 5 / w**0.5)))
    assert converging.verdicts["estimate"].iloc[0] == pytest.approx(0.217, abs=0.02)
    assert converging.verdicts["verdict"].iloc[0] == "pre-asymptotic"
    few = frame(lambda w: 0.0117 * (1 - 5 / w**0.5))
    assert api.fit_table(few[few["width"].isin([128, 256, 512, 768])]).verdicts["verdict"].iloc[0] != "refuted"
    assert api.fit_table(frame(lambda w: 0.01 * (w / 128) ** -0.9)).verdicts["verdict"].iloc[0] == "refuted"


def test_what_to_run_next_decides_when_it_is_run() -> None:
    rows = sweep(noise=0.02, seeds=1)
    advice = api.fit_table(rows[rows["width"] < 512]).next_runs
    assert advice[0].scale[0] == 512
    assert advice[0].runs == 5 * len(advice[0].scale)
    few = rows[(rows["width"] < 512) & (rows["lr"] < 2**-7.5)]
    mend = api.fit_table(few).next_runs[0]
    assert min(mend.x) > 2**-8
    assert "width 64 at lr 0.00781 0.0156" in mend.text


def test_other_hyperparameters_are_taken_out() -> None:
    """Random search over rate, decay and warmup at once: decay moves the loss by more than the rate does."""
    rng = np.random.default_rng(1)
    rows = []
    for width in WIDTHS:
        for _ in range(60):
            log2_lr, decay, warmup = rng.uniform(-12, -4), 10 ** rng.uniform(-4, -1), rng.integers(0, 1000)
            z = math.log10(decay) + 2.5
            away = log2_lr + 8 + 0.3 * z
            loss = 3 * math.exp(0.02 * away**2 + 0.1 * z**2 + 1e-5 * warmup + 0.004 * rng.standard_normal())
            rows.append({"width": width, "lr": 2.0**log2_lr, "decay": decay, "warmup": warmup, "loss": loss})
    frame = pd.DataFrame(rows)
    found = api.fit_table(frame, adjust=["decay", "warmup"])
    assert found.optima["status"].eq("interior").all()
    inside = (found.optima["ci_low"] < 2.0**-8 * 1.05) & (found.optima["ci_high"] > 2.0**-8 / 1.05)
    assert inside.all()
    assert found.verdicts["verdict"].tolist() == ["supported"]
    unadjusted = api.fit_table(frame)
    assert "vary and are not used: decay (300 values), warmup" in " ".join(unadjusted.notes)


def test_the_published_ledger_is_read_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = api.read_ledger()
    assert {"claim", "verdict", "agrees"} <= set(ledger.columns)
    assert main(["show", "claim", ledger["claim"].iloc[0]]) == 0
    with pytest.raises(MusterError, match="no ledger there"):
        api.read_ledger(tmp_path / "none")


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


BATCH = (torch.randn(24, 12, generator=torch.Generator().manual_seed(1)), torch.arange(24) % 3)
CHECKED = [32, 64, 128, 256]


def test_standard_parameterization_fails_the_coordinate_check() -> None:
    """Adam at one rate moves hidden features in proportion to width."""
    found = api.coordinate_check(
        network, CHECKED, BATCH, lambda model, width: torch.optim.Adam(model.parameters(), 0.01), steps=2, seeds=2
    )
    assert found.verdict == "refuted"
    last = found.slopes[(found.slopes["step"] == 2) & (found.slopes["quantity"] == "change")].set_index("layer")
    assert last.loc["2", "slope"] > 0.5
    assert isinstance(found.plot(), matplotlib.figure.Figure)


@pytest.mark.parametrize("name", ["mup", "mup_table3", "mup_table8"])
def test_groups_of_mup_pass_it(name: str) -> None:
    def optimizer(model: nn.Module, width: int) -> torch.optim.Optimizer:
        return torch.optim.Adam(api.parameter_groups(name, model, network, width, 32, optimizer="adam", lr=0.002))

    found = api.coordinate_check(network, CHECKED, BATCH, optimizer, steps=2, seeds=4, margin=0.3)
    assert found.verdict != "refuted"
    change = found.slopes[(found.slopes["step"] == 2) & (found.slopes["quantity"] == "change")]
    assert change["slope"].abs().max() < 0.3


def test_the_forms_of_one_parameterization_are_the_same_groups() -> None:
    """Without multipliers Tables 3, 8 and 9 of Tensor Programs V are one set of rates."""
    given = {"lr": 0.01, "weight_decay": 0.1, "epsilon_rule": "scaled"}
    tables = [
        api.show_parameterization(name, network, 256, 32, **given).table for name in ("mup", "mup_table3", "mup_table8")
    ]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(other.round(12), tables[0].round(12), check_exact=False, rtol=1e-9)
    assert tables[0]["role"].tolist() == ["input", "vector", "hidden", "vector", "readout", "fixed"]
    rates = dict(zip(tables[0]["tensor"], tables[0]["learning_rate"], strict=True))
    assert rates["2.weight"] == pytest.approx(0.01 / 8)
    assert rates["4.weight"] == pytest.approx(0.01 / 8)
    assert rates["0.weight"] == pytest.approx(0.01)


def test_own_shapes_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.py").write_text(
        "from torch import nn\n\ndef build(width):\n"
        "    return nn.Sequential(nn.Embedding(7, width), nn.Linear(width, 7))\n"
    )
    place = f"{tmp_path / 'model.py'}:build"
    words = ["show", "parameterization", "mup", "--shapes", place, "--width", "256", "--base-width", "32"]
    assert main(words) == 0
    assert re.search(r"0.weight +embedding +7×256", capsys.readouterr().out)
    assert main([*words[:4], place + "s", *words[5:]]) == 2
    assert "has no function 'builds'. Functions: build" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def build(width): return 3", "build(32) gave int"),
        ("def build(): return 3", "build(32) raised TypeError: build() takes 0"),
        ("def build(: 3", "model.py raised SyntaxError"),
        ("from torch import nn\ndef build(width): return nn.Linear(4, 4)", "no tensor of width 256 differs"),
    ],
)
def test_shapes_that_are_none_are_one_line(
    text: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.py").write_text(text)
    words = ["show", "parameterization", "mup", "--shapes", f"{tmp_path / 'model.py'}:build", "--width", "256"]
    assert main([*words, "--base-width", "32"]) == 2
    error = capsys.readouterr().err
    assert found in error
    assert len(error.splitlines()) == 1


def test_a_tensor_in_two_places_is_told() -> None:
    def tied(width: int) -> nn.Module:
        model = nn.Sequential(nn.Embedding(7, width), nn.Linear(width, 7, bias=False))
        model[1].weight = model[0].weight
        return model

    found = api.show_parameterization("mup", tied, 64, 16)
    assert found.table["role"].tolist() == ["embedding"]
    assert "0.weight is also 1.weight: it is treated as embedding" in found.summary()


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "examples/own_sweep/own_sweep.ipynb").read_text())["cells"]
    names: dict[str, Any] = {"print": lambda *words: None}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["scaling"].extrapolation["error"].iloc[0] < 0.01
    assert names["standard"].verdict == "refuted"
    assert names["check"].verdict != "refuted"
