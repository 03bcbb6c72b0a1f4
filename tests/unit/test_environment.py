"""pyproject.toml, the locks and environment.yml name the same versions; nothing in them belongs to one machine."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lock(name: str) -> dict[str, str]:
    pins = {}
    for line in (ROOT / name).read_text().splitlines():
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][0-9A-Za-z.]*)", line)
        assert match, f"{name}: {line!r} is not a plain pin"
        pins[normal(match[1])] = match[2]
    return pins


def wanted(requirements: list[str]) -> dict[str, str | None]:
    """Name → the version asked for, where it is exact."""
    pairs = [re.fullmatch(r"([A-Za-z0-9_.-]+)(?:==(.+)|~=.+)?", requirement) for requirement in requirements]
    assert all(pairs), f"of another form than NAME, NAME==VERSION, NAME~=VERSION: {requirements}"
    return {normal(pair[1]): pair[2] for pair in pairs if pair}


RUNTIME, DEV = lock("requirements.lock"), lock("requirements-dev.lock")
CLUSTER = lock("requirements-cluster.lock")


def test_every_dependency_is_locked_at_the_version_asked_for() -> None:
    for name, version in wanted(PROJECT["dependencies"]).items():
        assert version in (None, RUNTIME[name])
    for name, version in wanted(PROJECT["optional-dependencies"]["dev"]).items():
        assert version in (None, DEV[name])
    assert RUNTIME["torch"] == "2.13.0"


def test_snakemake_is_bounded_to_the_locked_minor_version() -> None:
    """`workflow/rules/common.smk` sets what no option of Snakemake sets, so another minor version is not let in."""
    locked = RUNTIME["snakemake"]
    (lower,) = re.findall(r'^min_version\("(.+)"\)$', (ROOT / "workflow/Snakefile").read_text(), re.MULTILINE)
    assert lower == locked
    assert f"snakemake~={locked}" in PROJECT["dependencies"]
    assert locked.count(".") == 2, "~= leaves only the last part free"


def test_the_development_lock_extends_the_runtime_lock() -> None:
    assert RUNTIME.items() <= DEV.items()


def test_the_cluster_lock_holds_what_the_extra_adds() -> None:
    assert wanted(PROJECT["optional-dependencies"]["cluster"]).keys() <= CLUSTER.keys()
    assert not RUNTIME.keys() & CLUSTER.keys()


def test_requirements_of_locked_packages_are_locked() -> None:
    """All transitive: nothing that an installed locked package needs here is left to the day of installation."""
    for name in RUNTIME:
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            pytest.fail(f"{name} is locked but not installed")
        for requirement in requires:
            spec, _, marker = requirement.partition(";")
            if marker.strip():
                continue
            needed = normal(re.match(r"[A-Za-z0-9_.-]+", spec)[0])  # type: ignore[index]
            assert needed in RUNTIME, f"{name} needs {needed}"


def test_installed_versions_are_the_locked_ones() -> None:
    found = {name: metadata.version(name).partition("+")[0] for name in wanted(PROJECT["dependencies"])}
    assert found == {name: RUNTIME[name] for name in found}


def test_conda_users_get_the_same_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert any(entry.startswith("python") for entry in plain)
    assert pip == ["-r requirements.lock", "-e ."]


def test_the_forge_runs_what_the_makefile_and_the_repository_have() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert {word for command in commands if command.startswith("make ") for word in command.split()[1:]} <= targets
    assert all((ROOT / command).exists() for command in commands if not command.startswith("make "))
    lower = PROJECT["requires-python"].removeprefix(">=")
    image = (ROOT / "Dockerfile").read_text()
    given = [step["with"] for step in steps if "with" in step]
    pythons = {each["python-version"] for each in given if "python-version" in each} - {"${{ matrix.python }}"}
    assert pythons == {lower} == set(re.findall(r"^FROM python:(\d+\.\d+)", image, re.MULTILINE))
    for name in re.findall(r"^COPY (?!\.)(\S+)", image, re.MULTILINE):
        assert (ROOT / name).exists()


def test_hooks_before_a_commit_are_those_of_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert entries - {"muster"} <= set(re.findall(r"\$\(BIN\)/([a-z-]+)", (ROOT / "Makefile").read_text()))
