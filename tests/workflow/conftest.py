"""A private copy of the workflow, its configuration and the library, where tests may edit and break things."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from tests.workflow import forked
from tests.workflow.studies import SAMPLED, TINY, write_config

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Workflow:
    """A copy of the project in a temporary folder."""

    patience: ClassVar[int] = 300  # seconds for one run

    folder: Path

    def run(self, *arguments: str, program: str = "snakemake") -> subprocess.CompletedProcess[str]:
        """Run `snakemake` or `muster` there, on the copy's own source."""
        arguments = ("--cores", "2", *arguments) if program == "snakemake" else arguments
        return forked.run([program, *arguments], self.folder, self.environment(), self.patience)

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "1"}

    def jobs(self, *arguments: str) -> dict[str, int]:
        """Rule → number of jobs that a run would execute now, without the target itself."""
        done = self.run("--dry-run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = [line.split() for line in (done.stdout + done.stderr).splitlines()]
        counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
        return {rule: count for rule, count in counts.items() if rule not in ("all", "everything", "total")}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text that must be there."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{old!r} not in {path}"
        file.write_text(text.replace(old, new, 1))


def copy_workflow(folder: Path, config: str, **studies: str) -> Workflow:
    """A copy of Snakefile, rules, profiles and source with the given configuration and studies."""
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("workflow", "profiles", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    write_config(folder, config, **studies)
    return Workflow(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Both tiny studies run to the end, once for all tests; those that edit use `restored`."""
    workflow = copy_workflow(tmp_path_factory.mktemp("flow"), "scale: smoke\n", tiny_train=TINY, tiny_sample=SAMPLED)
    done = workflow.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return workflow


@pytest.fixture
def restored(finished: Workflow) -> Iterator[Workflow]:
    """The finished workflow; source and configuration are put back afterwards."""
    files = [*finished.folder.glob("src/**/*.py"), *finished.folder.glob("config/**/*.yaml")]
    before = {file: (file.read_bytes(), file.stat()) for file in files}
    yield finished
    for file, (content, stat) in before.items():
        if file.read_bytes() != content:
            file.write_bytes(content)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
