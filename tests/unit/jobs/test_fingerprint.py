"""What enters the fingerprint of a cell's code, and what does not."""

import sys
from pathlib import Path

import pytest

from muster.experiments import EXPERIMENTS
from muster.jobs import fingerprint as fingerprints
from muster.jobs.fingerprint import cell_fingerprint, dataset_fingerprint, fingerprint, followed
from muster.registry import Registry
from muster.sampling.relu_chain import ReluChainCell
from muster.training.cell import TrainCell


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of three modules in place of muster's source; caches are emptied before and after."""
    folder = tmp_path / "muster"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "inner" / "__init__.py").write_text("from muster.inner.deep import x\n")
    (folder / "inner" / "deep.py").write_text("x = 1\n")
    (folder / "lazy.py").write_text("")
    (folder / "work.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from muster.inner import x\n"
        "if TYPE_CHECKING:\n    from muster.typed import T\n"
        "def run():\n    import muster.lazy\n"
    )
    (folder / "typed.py").write_text("")
    monkeypatch.setattr(fingerprints, "_file", lambda name: _file(tmp_path, name))
    empty_caches()
    yield folder
    empty_caches()


def _file(folder: Path, module: str) -> Path | None:
    path = folder.joinpath(*module.split("."))
    return next((p for p in (path / "__init__.py", path.with_suffix(".py")) if p.is_file()), None)


def empty_caches() -> None:
    for cached in (fingerprint, fingerprints._imports, fingerprints._fingerprint_of):
        cached.cache_clear()


def test_imports_are_followed_through_packages_and_functions_but_not_those_for_type_checkers(package: Path) -> None:
    assert followed({"muster.work"}) == {"muster.work", "muster.inner.deep", "muster.lazy"}


def test_a_package_named_as_the_start_counts_whole(package: Path) -> None:
    (package / "inner" / "unused.py").write_text("y = 1\n")
    before = fingerprint(("muster.inner",))
    (package / "inner" / "unused.py").write_text("y = 2\n")
    fingerprint.cache_clear()
    assert fingerprint(("muster.inner",)) != before


def test_fingerprints_change_with_any_byte_and_any_name_of_source(package: Path) -> None:
    def now() -> str:
        fingerprint.cache_clear()
        return fingerprint(("muster.inner",))

    first = now()
    assert now() == first
    (package / "inner" / "deep.py").write_text("x = 2\n")
    second = now()
    (package / "inner" / "deep.py").rename(package / "inner" / "moved.py")
    assert len({first, second, now()}) == 3
    with pytest.raises(ValueError, match="no source of module"):
        fingerprint(("no_such_module",))


def train_cell(**settings: object) -> TrainCell:
    return TrainCell.model_validate({"width": 8, "seed": 0, "steps": 1, "log2_lr": [-5], **settings})


def modules_of(monkeypatch: pytest.MonkeyPatch, experiment: str, cell: object) -> tuple[str, ...]:
    """The modules whose source a cell's fingerprint covers."""
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(fingerprints, "fingerprint", lambda modules: seen.append(modules) or "")
    fingerprints._fingerprint_of.cache_clear()
    cell_fingerprint(experiment, cell)  # type: ignore[arg-type]
    fingerprints._fingerprint_of.cache_clear()
    return seen[0]


def test_a_cell_depends_on_the_engine_and_on_what_it_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = modules_of(monkeypatch, "train", train_cell(optimizer="adam", probes=["ntk"]))
    shared = {"training.engine", "training.losses", "training.schedules", "optimizers.base", "models.base"}
    tables = {"parameterizations.tables", "parameterizations.rules", "parameterizations.scaling"}
    chosen = {"models.mlp", "models.activations", "optimizers.adam", "training.probes.kernel"}
    assert {f"muster.{name}" for name in shared | tables | chosen} <= set(modules)
    others = {"optimizers.sgd", "optimizers.adafactor", "training.train", "training.cell", "models", "optimizers"}
    assert not {f"muster.{name}" for name in others} & set(modules)
    assert not [name for name in modules if name.startswith(("muster.data", "muster.fitting", "muster.plots"))]


def test_probes_that_a_cell_does_not_take_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = modules_of(monkeypatch, "train", train_cell())
    assert [name for name in modules if ".probes" in name] == ["muster.training.probes.base"]


def test_cells_that_choose_alike_share_a_fingerprint_and_others_do_not() -> None:
    adam = cell_fingerprint("train", train_cell(optimizer="adam"))
    assert cell_fingerprint("train", train_cell(optimizer="adam", width=16, seed=1)) == adam
    assert cell_fingerprint("train", train_cell(optimizer="sgd")) != adam


def test_a_sampled_network_does_not_depend_on_the_activations_of_trained_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = ReluChainCell(width=8, seed=0)
    assert modules_of(monkeypatch, "relu_chain", cell) == ("muster.sampling.relu_chain", "muster.sampling.tables")


def test_planning_finds_the_code_without_importing_torch() -> None:
    """In a fresh interpreter: the test's own has torch."""
    import subprocess

    code = (
        "import sys; from muster.jobs.fingerprint import cell_fingerprint; "
        "from muster.training.cell import TrainCell; "
        "cell_fingerprint('train', TrainCell(width=8, seed=0, steps=1, log2_lr=[-5], probes=['ntk'])); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_experiment_and_data_set_has_a_fingerprint_of_its_own() -> None:
    codes = {
        tuple(sorted(followed(set(e.code or (e.run.__module__,))))) for e in map(EXPERIMENTS.__getitem__, EXPERIMENTS)
    }
    assert len(codes) >= 10
    assert dataset_fingerprint("mnist1d") != dataset_fingerprint("digits")


def test_a_registry_knows_the_module_of_entries_that_do_not() -> None:
    registry: Registry[object] = Registry("thing")
    registry.declare("lazy", "no.such.module:Thing")
    registry.register("number")(3)
    assert registry.module("lazy") == "no.such.module"
    assert registry.module("number") == __name__
