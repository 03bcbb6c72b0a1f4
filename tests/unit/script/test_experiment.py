"""The experiment `command`: what reaches a script, what comes back, and how a run fails without losing the others."""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from muster.config.models import StudyConfig
from muster.errors import MusterError
from muster.experiments import EXPERIMENTS, Context, Outcome
from muster.plan.cells import name_cell, read_cell
from muster.plan.grid import plan_study
from muster.script.cell import CommandCell, arguments
from muster.script.metrics import read_metrics
from muster.script.run import call, run_members
from muster.tables.collect import write_cell

# A trainer in plain Python: notes that it was called, then does what `act` says at one learning rate.
TRAINER = """\
import json, math, os, pathlib, subprocess, sys, time
width, rate, output, act = int(sys.argv[1]), float(sys.argv[2]), pathlib.Path(sys.argv[4]), sys.argv[5]
with open("calls.txt", "a") as calls:
    calls.write(f"{math.log2(rate):g} ")
print("training")
if act == "crash" and rate > 0.1:
    sys.exit("out of memory")
if act == "hang" and rate > 0.1 and not os.path.exists("awake"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    pathlib.Path("pids.txt").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(60)
if act == "silent" and rate > 0.1:
    sys.exit()
loss = float("nan") if act == "nan" and rate > 0.1 else 1 / width + rate
curves = [{"step": 0, "train_loss": 2.0}, {"step": 10, "train_loss": loss, "eval_loss": float("inf")}]
says = act == "says" and rate > 0.1
output.write_text(json.dumps({"final_train_loss": loss, "diverged": says, "parameters": width**2, "curves": curves}))
"""
COMMAND = f"{shlex.quote(sys.executable)} train.py {{width}} {{learning_rate}} {{seed}} {{output}} {{act}}"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(TRAINER)
    return tmp_path


def cell(**settings: Any) -> CommandCell:
    given = {"width": 4, "seed": 0, "log2_lr": [-5, -3], "command": COMMAND, "options": {"act": "train"}}
    return CommandCell.model_validate({**given, **settings})


def run(chosen: CommandCell, name: str = "cell", fingerprint: str = "") -> Outcome:
    context = Context(checkpoint_dir=Path("checkpoints", name), fingerprint=fingerprint, progress=lambda line: None)
    return run_members(chosen, context)


def failure(chosen: CommandCell) -> MusterError:
    with pytest.raises(MusterError) as caught:
        run(chosen)
    return caught.value


def calls() -> list[str]:
    return Path("calls.txt").read_text().split()


def test_runs_become_rows_and_pass_the_schema(project: Path) -> None:
    outcome = run(cell())
    runs = outcome.runs.set_index("log2_lr")
    assert runs["final_train_loss"].to_dict() == {-5: 1 / 4 + 2**-5, -3: 1 / 4 + 2**-3}
    assert runs["final_eval_loss"].isna().all()
    assert not runs["diverged"].any()
    assert set(runs["steps"]) == {10}
    assert set(runs["parameters"]) == {16}
    assert runs["seconds"].isna().all()  # equal inputs give equal bytes: times are among the notes
    assert all(seconds > 0 for seconds in outcome.notes["run_seconds"].values())
    assert outcome.curves["step"].tolist() == [0, 10, 0, 10]
    write_cell(outcome, name_cell("command", cell()), project / "out", {})
    assert len(pd.read_parquet(project / "out/curves.parquet")) == 4


@pytest.mark.parametrize("act", ["nan", "says"])
def test_a_run_that_diverged_has_no_loss_and_is_alone(act: str) -> None:
    runs = run(cell(options={"act": act})).runs.set_index("log2_lr")
    assert runs["diverged"].to_dict() == {-5: False, -3: True}
    assert math.isnan(runs.loc[-3, "final_train_loss"])
    assert runs.loc[-5, "final_train_loss"] == 1 / 4 + 2**-5


def test_values_stay_one_word_and_meet_no_shell() -> None:
    nasty = "; touch pwned #$(touch pwned) 'a b' {seed}"
    words = arguments(cell(options={"act": nasty}), -5, "/o u t.json", "cpu")
    assert words == [sys.executable, "train.py", "4", "0.03125", "0", "/o u t.json", nasty]
    run(cell(options={"act": nasty}))
    assert not Path("pwned").exists()


def test_every_placeholder_carries_its_setting() -> None:
    command = "x --w={width} {depth} {parameterization} {learning_rate} {log2_lr} {seed} {output} {device} {{b}} ''"
    chosen = cell(command=command, options={}, depth=3, parameterization="mup", seed=7)
    assert arguments(chosen, -9.5, "o", "cuda") == [
        *["x", "--w=4", "3", "mup", repr(2**-9.5), "-9.5", "7", "o", "cuda", "{b}", ""]
    ]


@pytest.mark.parametrize(
    ("act", "found"),
    [
        ("crash", ["exit status 1", "'out of memory'"]),
        ("silent", ["metrics.json: the command wrote no such file"]),
    ],
)
def test_a_failed_run_says_how_to_retry_and_keeps_the_others(act: str, found: list[str]) -> None:
    error = failure(cell(options={"act": act}))
    assert error.place == "log2_lr -3"
    assert all(part in error.found for part in found)
    assert "1 of 2 runs are finished and kept" in error.found
    retry = shlex.split(error.remedy.partition(f"Retry by hand in {Path.cwd()}: ")[2])
    assert retry[:4] == [sys.executable, "train.py", "4", "0.125"]
    log = Path(error.remedy.partition("Log: ")[2].partition(". Retry")[0])
    assert "training" in log.read_text()
    failure(cell(options={"act": act}))
    assert calls() == ["-5", "-3", "-3"]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_timeout_ends_the_script_and_its_children() -> None:
    start = time.monotonic()
    error = failure(cell(options={"act": "hang"}, timeout=2.0))
    assert time.monotonic() - start < 9
    assert "time-out of 2 s" in error.found
    assert "Raise `timeout`" in error.remedy
    pids = [int(pid) for pid in Path("pids.txt").read_text().split()]
    deadline = time.monotonic() + 3
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_alive, pids))


def test_a_script_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muster.script.run.GRACE_SECONDS", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on'); time.sleep(60)"
    start = time.monotonic()
    assert call([sys.executable, "-c", deaf], Path("log"), 1.6) is None
    assert time.monotonic() - start < 6
    assert Path("log").read_text() == "on\n"


def test_a_run_that_is_kept_survives_another_timeout_but_not_other_code() -> None:
    failure(cell(options={"act": "crash"}))
    longer = cell(options={"act": "crash"}, timeout=50)
    with pytest.raises(MusterError):
        run(longer, "longer")
    assert calls() == ["-5", "-3", "-3"]
    edited = cell(options={"act": "crash"}, code=["train.py"])
    with pytest.raises(MusterError):
        run(edited, "edited")
    with pytest.raises(MusterError):
        run(cell(options={"act": "crash"}), fingerprint="other")
    assert calls() == ["-5", "-3", "-3", "-5", "-3", "-5", "-3"]


@pytest.mark.parametrize("damage", [lambda text: text[:20], lambda text: text.replace("1", "2", 1)])
def test_a_damaged_record_is_run_again(damage: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    failure(cell(options={"act": "crash"}))
    (record,) = Path("checkpoints/cell").glob("*.json")
    assert damage(record.read_text()) != record.read_text()
    record.write_text(damage(record.read_text()))
    failure(cell(options={"act": "crash"}))
    assert calls() == ["-5", "-3", "-5", "-3"]
    assert f"{record}: cannot be used" in capsys.readouterr().out


def test_kept_runs_hold_the_numbers_of_the_first_attempt() -> None:
    options = {"act": "nan"}
    first, second = run(cell(options=options)), run(cell(options=options))
    pd.testing.assert_frame_equal(first.runs, second.runs)
    pd.testing.assert_frame_equal(first.curves, second.curves)
    assert calls() == ["-5", "-3"]


def test_a_program_that_is_not_there() -> None:
    error = failure(cell(command="no-such-program {width} {learning_rate} {output}", options={}))
    assert "'no-such-program' cannot be started" in error.found


def test_sigterm_ends_the_script_with_us_and_the_next_attempt_resumes(project: Path) -> None:
    text = name_cell("command", cell(options={"act": "hang"})).text
    command = [sys.executable, "-m", "muster", "command", "--cell", text, "--results", "r", "--scale", "smoke"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (Path("pids.txt").exists() and Path("pids.txt").read_text().count(" ")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    assert job.wait(10) == 128 + signal.SIGTERM
    assert not any(_alive(int(pid)) for pid in Path("pids.txt").read_text().split())
    (project / "awake").touch()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert calls() == ["-5", "-3", "-3"]
    assert "log2_lr -5: finished before" in done.stdout
    assert "training" in done.stdout.rpartition("log of log2_lr -3")[2]
    assert not list(Path("r/checkpoints").rglob("*.json"))
    assert len(list(Path("r/runs").rglob("runs.parquet"))) == 1


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        (
            {"command": "x {widht} {learning_rate} {output}"},
            "command",
            "unknown placeholder {widht}. Did you mean 'width'",
        ),
        ({"command": "x {width} {learning_rate}"}, "command", "{output} is missing"),
        ({"command": "x {width} {output}"}, "command", "{learning_rate} or {log2_lr} is not in the command"),
        ({"command": "x {learning_rate} {output}"}, "command", "{width} is not in the command"),
        ({"command": "x {width} {learning_rate} {output} 'open"}, "command", "No closing quotation"),
        ({"command": "x {width} {learning_rate} {output} {"}, "command", "cannot be read"),
        ({"command": "x {width:>5} {learning_rate} {output}"}, "command", "A placeholder is a name in braces"),
        ({"command": "x {width.real} {learning_rate} {output}"}, "command", "unknown placeholder {width.real}"),
        ({"command": "x {} {width} {learning_rate} {output}"}, "command", "A placeholder is a name in braces"),
        ({"options": {"batch": 3}}, "command", "the option 'batch' is not in it"),
        ({"options": {"seed": 3}}, "options", "'seed' is a placeholder of every command"),
        ({"code": ["trian.py"]}, "code", "no such file 'trian.py'"),
        ({"depth": 2}, "command", "depth is 2 in this cell, and {depth} is not in the command"),
        ({"timeout": 0}, "timeout", "found 0"),
        ({"metrics": "yaml"}, "metrics", "Allowed: 'json' or 'csv'"),
    ],
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], field: str, message: str) -> None:
    settings = {"command": "x {width} {learning_rate} {output}", **changes}
    with pytest.raises(MusterError) as caught:
        plan_study(study(settings), "laptop", path=Path("s.yaml"))
    assert caught.value.place.startswith(f"s.yaml settings.{field}")
    assert message in str(caught.value)


def study(settings: dict[str, Any], seeds: int = 1) -> StudyConfig:
    grid = [{"width": [4, 8], "seeds": seeds, "log2_lr": [-5, -3]}]
    fit = {"estimator": "lr_transfer", "response": "final_train_loss"}
    return StudyConfig.model_validate(
        {"study": "s", "title": "S", "paper": "P", "slug": "s", "experiment": "command", "settings": settings,
         "scales": {"laptop": {"grid": grid}}, "fits": {"lr": fit}}
    )  # fmt: skip


def test_seeds_that_do_not_reach_the_script_are_refused() -> None:
    settings = {"command": "x {width} {learning_rate} {output}"}
    assert len(plan_study(study(settings), "laptop").cells) == 2
    with pytest.raises(MusterError, match=r"seed is 1 in this cell, and \{seed\} is not in the command"):
        plan_study(study(settings, seeds=2), "laptop")


def test_an_edited_trainer_makes_another_cell(project: Path) -> None:
    settings = {"command": "x {width} {learning_rate} {output}", "code": ["train.py"]}
    before = plan_study(study(settings), "laptop").cells
    assert [c.key for c in plan_study(study(settings), "laptop").cells] == [c.key for c in before]
    (project / "train.py").write_text(TRAINER + "\n")
    after = plan_study(study(settings), "laptop").cells
    assert not {c.key for c in before} & {c.key for c in after}
    assert read_cell(after[0].text) == after[0]


def test_the_experiment_explains_itself_to_plans() -> None:
    chosen = cell(timeout=600)
    assert EXPERIMENTS["command"].cost(chosen).seconds == 2 * 600 / 10
    assert yaml.safe_load(name_cell("command", chosen).text)["cell"]["timeout"] == 600


@pytest.mark.parametrize(
    ("text", "diverged"),
    [
        ('{"final_train_loss": 0.5}', False),
        ('{"final_train_loss": 0.5, "final_eval_loss": null}', False),
        ('{"final_train_loss": 0.5, "final_eval_loss": NaN}', True),
        ('{"final_train_loss": null, "diverged": true}', True),
        (
            '{"curves": [{"step": 0, "train_loss": 2}, {"step": 9, "train_loss": 1}, {"step": 10}]}',
            False,
        ),
        ('{"final_train_loss": NaN}', True),
        ('{"final_train_loss": "Infinity"}', True),
        ('{"final_train_loss": 0.5, "diverged": true}', True),
        ('{"final_train_loss": 1, "steps": 20.0, "anything": [1]}', False),
    ],
)
def test_losses_as_writers_spell_them(text: str, diverged: bool, project: Path) -> None:
    (project / "m.json").write_text(text)
    assert read_metrics(project / "m.json", "json").lost is diverged


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "m.json", "not JSON"),
        ("[1]", "m.json", "found list"),
        ("{}", "final_train_loss", "missing"),
        ('{"final_train_loss": "low"}', "final_train_loss", "found 'low'"),
        ('{"final_train_loss": null}', "final_train_loss", "null: no training loss was logged"),
        ('{"final_train_loss": true}', "final_train_loss", "found True"),
        ('{"final_train_loss": 1, "steps": -1}', "steps", "found -1"),
        ('{"final_train_loss": 1, "parameters": 1e30}', "parameters", "found 1e+30"),
        ('{"final_train_loss": 1, "curves": [{"train_loss": 1}]}', "curves.0.step", "missing"),
        (
            '{"final_train_loss": 1, "curves": [{"step": 1, "train_loss": 1}, {"step": 1, "train_loss": 2}]}',
            "curves",
            "1 stands twice",
        ),
    ],
)
def test_garbage_is_named(text: str, place: str, message: str, project: Path) -> None:
    (project / "m.json").write_text(text)
    with pytest.raises(MusterError) as caught:
        read_metrics(project / "m.json", "json")
    assert caught.value.place.endswith(place)
    assert message in caught.value.found


def test_a_csv_of_results_and_a_csv_of_steps(project: Path) -> None:
    path = project / "m.csv"
    path.write_text("final_train_loss,final_eval_loss,parameters\n0.5,0.75,12\n")
    found = read_metrics(path, "csv")
    assert (found.final_train_loss, found.final_eval_loss, found.parameters) == (0.5, 0.75, 12)
    path.write_text("step,train_loss,eval_loss\n0,2,2.5\n20,0.5,0.75\n10,1,1\n")
    found = read_metrics(path, "csv")
    assert (found.final_train_loss, found.final_eval_loss, found.updates, len(found.curves)) == (0.5, 0.75, 20, 3)
    path.write_text("step,train_loss\n0,2\n10,nan\n")
    assert read_metrics(path, "csv").lost


@pytest.mark.parametrize(
    ("text", "train", "held_out", "steps"),
    [
        ("step,train_loss,eval_loss\n0,2.3,\n100,1.9,1.95\n200,1.7,1.8\n", 1.7, 1.8, [0, 100, 200]),
        ("epoch,step,train_loss,eval_loss\n0,49,2.3,\n0,99,1.9,\n1,100,,1.95\n", 1.9, 1.95, [49, 99, 100]),
        ("step,train_loss,eval_loss\n9,1.9,\n9,,1.95\n9,1.8,\n", 1.8, 1.95, [9]),
    ],
)
def test_of_each_column_the_last_logged_value_is_final(
    text: str, train: float, held_out: float, steps: list[int], project: Path
) -> None:
    (project / "m.csv").write_text(text)
    found = read_metrics(project / "m.csv", "csv")
    assert (found.final_train_loss, found.final_eval_loss, found.lost) == (train, held_out, False)
    assert [point.step for point in found.curves] == steps


def test_a_shell_line_is_refused_with_the_remedy() -> None:
    head = "python x.py {width} {learning_rate} {output}"
    lines = (
        f"cd code && {head}",
        f"CUDA_VISIBLE_DEVICES=0 {head}",
        f"{head} > log",
        f"{head} --data $HOME/data",
        f"{head};",
    )
    for line in lines:
        with pytest.raises(MusterError, match="means something to a shell alone"):
            plan_study(study({"command": line}), "laptop", path=Path("s.yaml"))
    plan_study(
        study({"command": "bash -c 'cd x && y {width} {learning_rate} {output}'"}), "laptop", path=Path("s.yaml")
    )


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_the_script_ends_with_us_whatever_ends_us(number: signal.Signals, project: Path) -> None:
    text = name_cell("command", cell(options={"act": "hang"})).text
    command = [sys.executable, "-m", "muster", "command", "--cell", text, "--results", "r", "--scale", "smoke"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (Path("pids.txt").exists() and Path("pids.txt").read_text().count(" ")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job.send_signal(number)
    job.wait(20)
    deadline = time.monotonic() + 60
    while any(_alive(int(pid)) for pid in Path("pids.txt").read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("final_train_loss\n", "no row below the header"),
        ("final_train_loss\n1\n2\n", "2 rows of results"),
        ("step,train_loss\none,2\n", "step"),
        ("final_train_loss\n1,2\n", "more cells than names"),
        ("loss\n1\n", "final_train_loss"),
    ],
)
def test_garbage_in_csv_is_named(text: str, message: str, project: Path) -> None:
    (project / "m.csv").write_text(text)
    with pytest.raises(MusterError, match=message):
        read_metrics(project / "m.csv", "csv")


def test_records_are_strict_json_but_for_nan(project: Path) -> None:
    run(cell(options={"act": "nan"}))
    records = [json.loads(path.read_text()) for path in Path("checkpoints/cell").glob("*.json")]
    assert len(records) == 2
