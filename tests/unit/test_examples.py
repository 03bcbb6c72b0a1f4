"""The examples hold what they promise: their studies plan, their scripts take what the studies give them."""

import re
import runpy
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from muster.cli.check import check_study
from muster.config.load import load_study
from muster.config.schema import schema
from muster.plan.grid import plan_study
from muster.script.metrics import Metrics, read_metrics

ROOT = Path(__file__).parents[2]
OWN = ROOT / "examples/own_trainer"


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/*.yaml")), ids=lambda path: path.name)
def test_studies_of_examples_plan_at_every_scale(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = path.read_text()
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(yaml.safe_load(text))) == []
    named = text.splitlines()[0].partition("$schema=")[2]
    assert (path.parent / named).resolve() == (ROOT / "config/studies" / named).resolve() == ROOT / "config/schema.json"
    study = load_study(path)
    for scale in study.scales:
        check_study(plan_study(study, scale, path=path), path)


def test_the_script_takes_every_option_that_the_study_passes() -> None:
    study, script = (OWN / "own-trainer.yaml").read_text(), (OWN / "train.py").read_text()
    passed = re.findall(r"--[a-z]+", yaml.safe_load(study)["settings"]["command"])
    taken = re.findall(r'add_argument\("(--[a-z]+)"', script)
    assert set(passed) == set(taken)
    assert "muster" not in script


def test_the_readme_names_files_and_fields_that_exist() -> None:
    text = (OWN / "README.md").read_text()
    for name in re.findall(r"`([a-z-]+\.(?:py|yaml))`", text):
        assert (OWN / name).exists(), name
    for field in Metrics.model_fields:
        assert field in text or field == "diverged", field


@pytest.mark.parametrize(
    ("script", "needs", "settings"),
    [
        ("hydra", "hydra", "model.width=8 optimizer.lr=0.01 seed=1 steps=2 output={output}"),
        ("nanogpt", "torch", "--n_embd=8 --learning_rate=0.01 --seed=1 --max_iters=1 --out={output}"),
    ],
)
def test_the_scripts_of_others_leave_what_is_read(
    script: str, needs: str, settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(needs)
    study = yaml.safe_load(next((ROOT / "examples" / script).glob("*.yaml")).read_text())
    words = settings.format(output=tmp_path / "result").split()
    names = [word.partition("=")[0] for word in study["settings"]["command"].split()[2:]]
    assert names == [word.partition("=")[0] for word in words]
    path = ROOT / "examples" / script / "train.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), *words])
    runpy.run_path(str(path), run_name="__main__")
    assert read_metrics(tmp_path / "result", study["settings"].get("metrics", "json")).final_train_loss > 0
    assert [place.name for place in tmp_path.iterdir()] == ["result"]
