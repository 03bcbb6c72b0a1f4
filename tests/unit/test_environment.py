"""pyproject.toml, the locks and environment.yml name the same versions; nothing in them belongs to one machine."""

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import muster

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lock(name: str) -> dict[str, str]:
    """Name → version, of the entries for this interpreter and system; all carry hashes."""
    pins = {}
    for entry in (ROOT / name).read_text().replace("\\\n", " ").splitlines():
        pin, *hashes = re.split(r" +--hash=sha256:", entry)
        requirement = Requirement(pin)
        (version,) = requirement.specifier
        assert version.operator == "==", f"{name}: {pin} is not pinned"
        assert hashes, f"{name}: {pin} has no hashes"
        assert all(re.fullmatch(r"[0-9a-f]{64} *", each) for each in hashes)
        if requirement.marker is None or requirement.marker.evaluate():
            pins[canonicalize_name(requirement.name)] = version.version
    return pins


def wanted(requirements: list[str]) -> dict[str, SpecifierSet]:
    return {canonicalize_name(each.name): each.specifier for each in map(Requirement, requirements)}


EXTRAS = PROJECT["optional-dependencies"]
TESTED = [each for name in ("dev", "mlflow", "optuna", "tensorboard") for each in EXTRAS[name]]  # what CI must not skip
RUNTIME, DEV = lock("requirements.lock"), lock("requirements-dev.lock")
CLUSTER = lock("requirements-cluster.lock")
TORCH = "torch"  # which build is right depends on the machine, so the Makefile installs it by a line of its own


@pytest.mark.parametrize(
    ("requirements", "locked"),
    [
        (PROJECT["dependencies"], RUNTIME),
        (TESTED, DEV),
        (EXTRAS["cluster"], CLUSTER),
    ],
    ids=["runtime", "dev", "cluster"],
)
def test_every_dependency_is_bounded_and_locked_within_its_bounds(
    requirements: list[str], locked: dict[str, str]
) -> None:
    for name, bounds in wanted(requirements).items():
        assert {bound.operator for bound in bounds} & {"==", "~="}, f"{name} is not bounded above"
        assert (name == TORCH) != (name in locked)
        assert name == TORCH or locked[name] in bounds


def test_torch_has_a_line_of_its_own() -> None:
    """And what only its builds for CUDA need is in no lock: it would be installed where torch is a build for CPUs."""
    assert not [name for name in RUNTIME | DEV | CLUSTER if name.startswith(("nvidia", "cuda", "triton"))]
    (given,) = [each for each in PROJECT["dependencies"] if each.startswith(TORCH)]
    command = ["make", "--silent", "--eval", "shown: ; @echo '$(TORCH)'", "shown"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == given
    assert metadata.version(TORCH).partition("+")[0] in wanted([given])[TORCH]


def test_snakemake_is_bounded_to_the_locked_minor_version() -> None:
    """`workflow/rules/common.smk` sets what no option of Snakemake sets, so another minor version is not let in."""
    locked = RUNTIME["snakemake"]
    (lower,) = re.findall(r'^min_version\("(.+)"\)$', (ROOT / "workflow/Snakefile").read_text(), re.MULTILINE)
    assert lower == locked
    assert f"snakemake~={locked}" in PROJECT["dependencies"]
    assert locked.count(".") == 2, "~= leaves only the last part free"


def test_the_development_lock_extends_the_runtime_lock() -> None:
    assert RUNTIME.items() <= DEV.items()


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_is_bounded(extra: str) -> None:
    """An unbounded `mlflow` installed a version of 2022, the last that says nothing against today's pandas."""
    for name, bounds in wanted(EXTRAS[extra]).items():
        assert {bound.operator for bound in bounds} & {"==", "~="}, f"{name} is not bounded above"


def test_the_cluster_lock_holds_what_the_extra_adds() -> None:
    assert wanted(EXTRAS["cluster"]).keys() <= CLUSTER.keys()
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
            assert canonicalize_name(Requirement(spec).name) in RUNTIME, f"{name} needs {spec}"


def test_locked_packages_take_the_oldest_python_that_is_promised() -> None:
    """Debian 12 has Python 3.11.2: a package that wants 3.11.5 ends `make test` there, and nowhere else."""
    oldest = f"{PROJECT['requires-python'].removeprefix('>=')}.0"
    for name in {**RUNTIME, **DEV}:
        # Not by index: importlib_metadata, once some test has loaded it, answers in its stead, with a KeyError.
        accepted = metadata.metadata(name).get("Requires-Python") or ""
        assert oldest in SpecifierSet(accepted), f"{name} wants Python {accepted}"


def test_installed_versions_are_the_locked_ones() -> None:
    found = {name: metadata.version(name) for name in wanted(PROJECT["dependencies"]) if name != TORCH}
    assert found == {name: RUNTIME[name] for name in found}


def test_conda_users_get_versions_within_the_same_bounds() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert f"python {PROJECT['requires-python']}" in [entry.partition(",")[0] for entry in plain]
    assert pip == ["--editable ."]


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
    for names in re.findall(r"^COPY (?!\.)(.+) \./$", image, re.MULTILINE):
        assert all((ROOT / name).exists() for name in names.split())


def test_the_image_installs_the_locked_torch_and_nothing_else_of_that_name() -> None:
    """Its command is run as the image's shell runs it: other packages end in `torch`, too."""
    (command,) = re.findall(r'--index-url "\$index" "\$\((.+)\)"$', (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    found = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert found == [each for each in PROJECT["dependencies"] if each.startswith(TORCH)]


def test_hooks_before_a_commit_are_those_of_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert entries - {"muster"} <= set(re.findall(r"\$\(BIN\)/([a-z-]+)", (ROOT / "Makefile").read_text()))


def test_a_citation_names_the_version_that_is_released_last() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    released = re.findall(
        r"^## (\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert (muster.__version__, str(cited["date-released"])) == released[0]
    assert cited["version"] == muster.__version__
