"""A repository like this one: whatever runs in it leaves `git status` clean; publishing alone changes what it shows."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from muster.claims.ledger import read_ledger
from muster.config.load import load_study
from tests.workflow.conftest import ROOT, Workflow
from tests.workflow.studies import SAMPLED
from tests.workflow.test_dvc import call, git

STUDY = SAMPLED.replace("smoke:", "laptop:")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """All files of this repository as they lie here, and a study of seconds, committed in a repository of their own."""
    folder = tmp_path_factory.mktemp("clone")
    listed = call(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "config/studies/tiny-sample.yaml").write_text(STUDY)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=All")
    return Workflow(folder)


def status(project: Workflow) -> str:
    return git(project.folder, "status", "--porcelain")


def muster(project: Workflow, *words: str) -> "subprocess.CompletedProcess[str]":
    return project.run(*words, program="muster")


def test_readmes_first_example_leaves_no_trace_in_git(project: Workflow) -> None:
    done = muster(project, "run", "relu-kurtosis", "--scale", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    assert status(project) == ""
    ledger = read_ledger(project.folder / "results/smoke/ledger")
    assert ledger.loc[ledger["study"] == "relu-kurtosis", "n_cells"].gt(0).all()
    assert ledger.loc[ledger["study"] != "relu-kurtosis", "n_cells"].eq(0).all()
    assert (project.folder / "results/smoke/figures/relu-kurtosis/kurtosis.svg").exists()
    assert list((project.folder / "results/store/objects").glob("*/*"))
    assert not (project.folder / "results/laptop").exists()


def test_the_example_trainer_leaves_none_whether_it_ends_or_fails(project: Workflow) -> None:
    study = project.folder / "config/studies/own-trainer.yaml"
    shutil.copy(project.folder / "examples/own_trainer/own-trainer.yaml", study)
    done = muster(project, "run", "own-trainer", "--scale", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    assert status(project) == ""
    study.write_text(study.read_text().replace("python examples/own_trainer/train.py", "python nowhere.py"))
    assert muster(project, "run", "own-trainer", "--scale", "smoke").returncode != 0
    assert status(project) == ""
    study.unlink()


def test_a_study_is_published_when_it_is_complete_and_changes_its_own_rows(project: Workflow) -> None:
    published = project.folder / "results/published"
    before = read_ledger(published / "ledger").set_index("claim")
    refused = muster(project, "publish", "tiny-sample", "--yes")
    assert refused.returncode == 2
    assert "of its 6 cells 6 waiting. Run: muster run tiny-sample --scale laptop" in refused.stderr

    done = muster(project, "run", "tiny-sample")
    assert done.returncode == 0, done.stdout + done.stderr
    assert status(project) == ""
    asked = muster(project, "publish", "tiny-sample")
    assert asked.returncode == 2
    assert "Give --yes not to be asked" in asked.stderr
    assert status(project) == ""

    done = muster(project, "publish", "tiny-sample", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    after = read_ledger(published / "ledger").set_index("claim")
    assert list(after.index.difference(before.index)) == ["tiny-uniform"]
    assert after.loc["tiny-uniform", "verdict"] in ("supported", "refuted", "inconclusive", "no measurement")
    kept = after.drop(index="tiny-uniform")
    pd.testing.assert_frame_equal(kept, before.loc[kept.index])  # a further paper moves nobody's verdict
    # The overview shows headline claims of papers alone, and this one is none.
    changed = {line.split()[-1] for line in git(project.folder, "status", "--porcelain", "-uall").splitlines()}
    assert {path.removeprefix("results/published/") for path in changed} == {
        *(
            f"ledger/{name}"
            for name in ("LEDGER.md", "SHA256SUMS", "claims.csv", "claims.json", "index.html", "metrics.json")
        ),
        "figures/tiny-sample/scaling.png",
        "records/tiny-sample.json",
    }
    assert (published / "tables/tiny-sample/runs.parquet").exists()
    assert (published / "fits/tiny-sample/fits.parquet").exists()

    engine = project.folder / "src/muster/sampling/matrix_product.py"
    head, run = engine.read_text().split("\ndef run(")
    run = run.replace("    return ", "    edited = 1  # of use to nobody\n    return ", 1)
    engine.write_text(f"{head}\ndef run({run}")
    stale = muster(project, "publish", "tiny-sample", "--yes")
    assert stale.returncode == 2
    assert "of its 6 cells 6 stale: made by other code" in stale.stderr


def test_make_publish_hands_on_the_names_of_studies() -> None:
    said = call(ROOT, "make", "--no-print-directory", "--dry-run", "publish", "STUDY=relu-kurtosis rmt-products")
    assert said.splitlines()[-1].endswith("muster publish relu-kurtosis rmt-products")
    assert (
        call(ROOT, "make", "--no-print-directory", "--dry-run", "publish")
        .splitlines()[-1]
        .strip()
        .endswith("muster publish")
    )


def test_what_the_repository_shows_is_where_its_texts_point() -> None:
    """Links of README and of the published ledger; every published figure is one of its study."""
    for text in (ROOT / "README.md", ROOT / "results/published/ledger/LEDGER.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", text.read_text(encoding="utf-8"))
        assert [link for link in links if not (text.parent / link).exists()] == []
    shown = [path for path in (ROOT / "results/published/figures").glob("*/*") if path.parent.name != "overview"]
    assert shown
    for path in shown:
        study = load_study(ROOT / f"config/studies/{path.parent.name}.yaml")
        assert path.stem in study.figures, path


def test_the_folder_of_results_may_name_the_scale_on_the_command_line(project: Workflow, tmp_path: Path) -> None:
    done = project.run(
        "--dry-run", "--config", "scale=smoke", f"results={tmp_path}/{{scale}}/x", "studies=[siren-init]"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = project.run(
        "--summary", "--config", "scale=smoke", f"results={tmp_path}/{{scale}}/x", "studies=[siren-init]"
    )
    assert f"{tmp_path}/smoke/x/ledger/claims.csv" in said.stdout
