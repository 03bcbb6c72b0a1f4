"""Which edits of the source make which of all planned cells stale: none, or exactly those that use what was edited.

Each edit is made in a copy of the source and looked at by a fresh interpreter.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muster.experiments import EXPERIMENTS
from muster.jobs import fingerprint as fingerprints
from muster.jobs.fingerprint import cell_fingerprint, dataset_fingerprint, stage_fingerprint
from muster.plan.cells import PlannedCell, name_cell
from muster.plan.plan import Plan, load_plan
from muster.registry import Registry
from muster.sampling.relu_chain import ReluChainCell
from muster.training.cell import TrainCell
from muster.training.device import DTYPES

ROOT = Path(__file__).parents[3]
Edit = Callable[[Path], None]

# What a copy of the source says of cells: fingerprint and key; and of studies: the stamps of their stages.
LOOK = """
import json, sys
from pathlib import Path
from muster.config.load import load_study
from muster.jobs.fingerprint import cell_fingerprint, stage_fingerprint
from muster.plan.cells import read_cell
given = json.load(sys.stdin)
cells = [read_cell(text) for text in given["cells"]]
studies = [load_study(Path(path)) for path in given["studies"]]
stamps = {study.study: [stage_fingerprint(stage, study) for stage in ("fit", "plot")] for study in studies}
if studies:
    stamps[""] = [stage_fingerprint(stage) for stage in ("collect", "judge")]
found = [(cell_fingerprint(cell.experiment, cell.cell, cell.dtype), cell.key) for cell in cells]
json.dump({"cells": found, "stamps": stamps}, sys.stdout)
"""
STUDIES = ("relu-kurtosis", "mup-width-transfer", "chinchilla-replication")


class Copies:
    """All cells of all studies at laptop, and what copies of the source say of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.plan: Plan = load_plan(ROOT / "config/config.yaml", scale="laptop")
        alike: dict[Any, list[PlannedCell]] = {}
        for cell in self.plan.cells.values():
            data = cell.dataset
            alike.setdefault((cell.experiment, data and data[0], fingerprints._chosen(cell.cell)), []).append(cell)
        self.alike = list(alike.values())  # cells that choose the same names have the same code: one of each is asked
        self.studies = [str(ROOT / f"config/studies/{name}.yaml") for name in STUDIES]
        self.before = self.look(ROOT / "src", self.studies)

    def look(self, source: Path, studies: list[str]) -> dict[str, Any]:
        given = json.dumps({"cells": [cells[0].text for cells in self.alike], "studies": studies})
        environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", LOOK], input=given, capture_output=True, text=True, env=environment, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def after(self, *edits: Edit, stages: bool = False) -> "Difference":
        source = self.folder / "src"
        shutil.rmtree(source, ignore_errors=True)
        # Bytecode of what is not edited stays valid: times are copied, too.
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("*.egg-info"))
        for edit in edits:
            edit(source / "muster")
        return Difference(self, self.look(source, self.studies if stages else []))


class Difference:
    """Cells and stamps that an edit changed."""

    def __init__(self, copies: Copies, after: dict[str, Any]):
        pairs = list(zip(copies.alike, copies.before["cells"], after["cells"], strict=True))
        self.stale = {cell.key for cells, old, new in pairs if old[0] != new[0] for cell in cells}
        self.renamed = {cell.key for cells, old, new in pairs if old[1] != new[1] for cell in cells}
        self.stamps = {name for name, new in after["stamps"].items() if new != copies.before["stamps"][name]}


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    return Copies(tmp_path_factory.mktemp("copies"))


def replace(file: str, old: str, new: str) -> Edit:
    def edit(package: Path) -> None:
        text = (package / file).read_text()
        assert old in text, f"{old!r} not in {file}"
        (package / file).write_text(text.replace(old, new, 1))

    return edit


def append(file: str, text: str) -> Edit:
    return lambda package: (package / file).write_text((package / file).read_text() + text)  # type: ignore[func-returns-value]


def rename(module: str, other: str) -> Edit:
    """Rename a module and every import of it."""

    def edit(package: Path) -> None:
        old, new = (f"muster.{name}" for name in (module, other))
        file = package / f"{module.replace('.', '/')}.py"
        file.rename(package / f"{other.replace('.', '/')}.py")
        parent, name = old.rpartition(".")[::2]
        last = new.rpartition(".")[2]
        for path in package.rglob("*.py"):
            text = path.read_text().replace(f"{old} import", f"{new} import").replace(f"{old}:", f"{new}:")
            lines = [
                line.replace(f" {name}", f" {last} as {name}")
                if line.strip().startswith(f"from {parent} import")
                else line
                for line in text.splitlines(keepends=True)
            ]
            path.write_text("".join(lines))

    return edit


def reformat(package: Path) -> None:
    """Every source in C++ with other lines, spaces and comments."""
    for path in (package / "native").rglob("*"):
        if path.suffix in (".h", ".cpp"):
            lines = path.read_text().splitlines()
            code = [line.replace("(", "( ").replace(";", " ;") if not line.startswith("#") else line for line in lines]
            path.write_text("// another comment\n\n" + "\n".join(code) + "\n/* the end */\n")


FREE = {
    "a comment": [
        replace("training/engine.py", "CHECK_EVERY = 16", "# a comment\nCHECK_EVERY = 16"),
        append("parameterizations/tables.py", "\n# another\n"),
        append("plots/style.py", "\n# another\n"),
    ],
    "the format of C++": [reformat],
    "the kernels of another number format": [
        replace("native/bfloat16/product.h", "k + 1 < n", "k + 2 < n"),
        replace("native/bfloat16/rounding.py", "dz @ w.T", "2.0 * dz @ w.T"),
        replace("native/bfloat16/__init__.py", "1e-3", "1e-2"),
    ],
    "a docstring": [
        replace("training/engine.py", '"""Initial weights', '"""First weights'),
        replace("optimizers/adam.py", '"""Adam (Kingma', '"""The method Adam (Kingma'),
        replace("parameterizations/rules.py", '"""One rate for all', '"""The same rate for all'),
        replace("parameterizations/tables.py", '"Maximal update (µP), variance', '"µP, variance'),
        replace("sampling/relu_chain.py", '"""Sample the chain.', '"""The chain.'),
    ],
    "a new version": [replace("__init__.py", '__version__ = "', '__version__ = "9.')],
    "a renamed module": [
        rename("training.checkpoint", "training.saved"),
        rename("models.activations", "models.nonlinearities"),
        rename("parameterizations.tables", "parameterizations.rows"),
        rename("sampling.tables", "sampling.moments"),
        rename("optimizers.base", "optimizers.common"),
    ],
    "a new optimizer": [
        lambda package: (package / "optimizers/own.py").write_text(
            (package / "optimizers/lion.py").read_text().replace('register("lion")', 'register("own")')
        )
    ],
    "a new row": [
        append(
            "parameterizations/tables.py",
            '\nPARAMETERIZATIONS.register("own")(Parameterization("Own", PARAMETERIZATIONS["mup"].rows, 0.7))\n',
        )
    ],
    "new rules": [
        append(
            "parameterizations/rules.py",
            '\n@RULES.register("own")\ndef own(table, update, role):\n    return 1.0\n'
            '\n@EPSILON_RULES.register("own")\ndef own_epsilon(table, role, branch, alpha):\n    return Power(1.0)\n'
            '\n@DECAY_RULES.register("own")\ndef own_decay(rate):\n    return Power(1.0)\n',
        )
    ],
    "a new schedule": [
        append("training/schedules.py", '\n@SCHEDULES.register("own")\ndef own(progress, fraction):\n    return 1.0\n')
    ],
    "a new loss": [append("training/losses.py", '\n@LOSSES.register("own")\ndef own(f, y):\n    return f, f\n')],
    "a new activation": [
        append(
            "models/activations.py",
            '\nACTIVATIONS.register("own")(Activation("Own", 1.0, lambda z: z, _aten("relu")))\n',
        )
    ],
    "a new probe": [
        append(
            "training/probes/kernel.py",
            "\n\n@PROBES.register('own')\n@probe()\ndef own(s):\n    yield 'own', 0, rms(s.x_ExBxI)\n",
        ),
    ],
    "a new reader and a new transform": [
        append("published/run_files.py", '\nREADERS.register("own")(READERS["run_files"])\n'),
        append("published/rows.py", '\nTRANSFORMS.register("own")(TRANSFORMS["last_step"])\n'),
    ],
    "a new hyperparameter": [
        replace(
            "optimizers/adam.py",
            "    epsilon: float = Field(",
            "    own: float | None = Field(None)\n    epsilon: float = Field(",
        ),
    ],
    "a new setting": [
        replace("training/cell.py", "from typing import Any,", "from typing import Annotated, Any,"),
        replace("training/cell.py", "import Cell\n", "import Absent, Cell\n"),
        replace(
            "training/cell.py",
            "    family: str = _named(",
            "    own: Annotated[float, Absent(0.5)] = Field(0.5)\n    family: str = _named(",
        ),
    ],
}


@pytest.mark.parametrize("what", FREE)
def test_what_a_cell_does_not_use_makes_none_stale(copies: Copies, what: str) -> None:
    stages = what in ("a comment", "a docstring", "a renamed module")
    found = copies.after(*FREE[what], stages=stages)
    assert sum(map(len, copies.alike)) == len(copies.plan.cells) > 1400
    assert found.stale == set()
    assert found.renamed == set()
    assert found.stamps == set()


Use = Callable[[PlannedCell], bool]


def uses(field: str, *values: str) -> Use:
    """Trained cells with one of these values in a field."""
    return lambda planned: planned.stage == "train" and getattr(planned.cell, field) in values


def any_of(*found: Use) -> Use:
    return lambda planned: any(use(planned) for use in found)


EXACT: dict[str, tuple[list[Edit], Use]] = {
    "an exponent of mup": (
        [replace("parameterizations/tables.py", "AB(-0.5, 0.5),\n", "AB(-0.6, 0.5),\n")],
        uses("parameterization", "mup"),
    ),
    "an activation": (
        [replace("models/activations.py", "lambda z: z.tanh_()", "lambda z: z.sinh_()")],
        uses("activation", "tanh"),
    ),
    "the step of Adam, which AdamW inherits": (
        [replace("optimizers/adam.py", "lr=lr * schedule", "lr=lr * schedule / 2")],
        uses("optimizer", "adam", "adamw", "muon"),
    ),
    "the step of AdamW": (
        [replace("optimizers/adam.py", "(1 + rate * schedule", "(1 - rate * schedule")],
        uses("optimizer", "adamw", "muon"),  # Muon's other tensors
    ),
    "the direction of Muon, which is sampled, too": (
        [replace("optimizers/muon.py", "x = x / x.norm", "x = 2 * x / x.norm")],
        any_of(
            uses("optimizer", "muon"),
            lambda planned: planned.experiment == "matrix_step" and planned.cell.optimizer == "muon",  # type: ignore[union-attr]
        ),
    ),
    "how an optimizer's step scales": (
        [replace("optimizers/sgd.py", "Update(gradient=1", "Update(gradient=2")],
        uses("optimizer", "sgd", "momentum"),
    ),
    "a rule": (
        [replace("parameterizations/rules.py", "alignment=0.5)", "alignment=0.6)")],
        uses("rule", "no_alignment"),
    ),
    "a loss": (
        [replace("training/losses.py", "0.5 * residual", "0.25 * residual")],
        uses("loss", "squared_error"),
    ),
    "a schedule": (
        [replace("training/schedules.py", "return 1.0 - progress", "return 1.0 - progress**2")],
        uses("schedule", "linear"),
    ),
    "a helper two imports away": (
        [replace("models/graphs.py", "length + 1: count", "length + 2: count")],
        any_of(
            uses("family", "dag_mlp", "convnet"),
            lambda planned: planned.experiment in ("stability", "one_step", "dag_kernel"),
        ),
    ),
    "a reader of published tables": (
        [replace("published/pickles.py", 'f"level_{place}"', 'f"labels_{place}"')],
        lambda planned: "pickled_table" in getattr(planned.cell, "fixed_names", {}).get("reader", ()),
    ),
    "a transform of published tables": (
        [replace("published/transforms.py", "return parts[0] / parts[1]", "return parts[0] / (2 * parts[1])")],
        lambda planned: "ratio" in getattr(planned.cell, "fixed_names", {}).get("transform", ()),
    ),
    "what nobody calls": (
        [replace("training/clipping.py", "def clip_gradients", "def unused(): ...\n\n\ndef clip_gradients")],
        lambda planned: False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", EXACT)
def test_an_edit_makes_exactly_those_stale_that_use_it(copies: Copies, what: str) -> None:
    edits, use = EXACT[what]
    found = copies.after(*edits)
    assert found.stale == {key for key, planned in copies.plan.cells.items() if use(planned)}
    assert bool(found.stale) != (what == "what nobody calls")
    assert found.renamed == set()


@pytest.mark.parametrize(
    ("edit", "formats"),
    [
        (replace("native/bfloat16/product.h", "k + 1 < n", "k + 2 < n"), {"bfloat16"}),
        (replace("native/bfloat16/rounding.py", "dz @ w.T", "2.0 * dz @ w.T"), {"bfloat16"}),
        (replace("native/float32.py", "1e-5", "1e-4"), {"float32"}),
        (replace("native/kernels/updates.h", "g - m, u.gain1", "m - g, u.gain1"), {"float32", "float64", "bfloat16"}),
    ],
)
def test_kernels_of_a_number_format_are_code_of_its_own_cells(copies: Copies, edit: Edit, formats: set[str]) -> None:
    trained = [cells[0] for cells in copies.alike if cells[0].experiment == "train"][:3]
    by_format = {name: [name_cell("train", each.cell, name) for each in trained] for name in DTYPES}
    few = copy.copy(copies)
    few.alike = [[cell] for cells in by_format.values() for cell in cells]
    few.before = few.look(ROOT / "src", [])
    assert few.after(edit).stale == {cell.key for name in formats for cell in by_format[name]}


def test_another_default_renames_the_cells_that_leave_it_open_and_makes_no_other_stale(copies: Copies) -> None:
    """A cell's own text names every value: those that leave a setting open come with the new default."""
    left_open, chosen = train_cell(), train_cell(beta1=0.8)
    assert name_cell("train", left_open).key != name_cell("train", chosen).key
    found = copies.after(replace("optimizers/adam.py", "beta1: float = Field(0.9", "beta1: float = Field(0.8"))
    assert found.stale == found.renamed == set()


def test_stages_follow_what_they_call_study_by_study(copies: Copies) -> None:
    """Code of sampling that a closed form calls; an estimator that two of the studies do not name; a plot."""
    form = copies.after(replace("fitting/closed_forms/chains.py", "(1 + 5 / table", "(1 + 6 / table"), stages=True)
    assert (form.stale, form.stamps) == (set(), {"relu-kurtosis"})
    optimum = copies.after(
        replace("fitting/estimators/lr_transfer.py", "def ", "HALF = 0.5\n\n\ndef unused() -> None: ...\n\n\ndef "),
        stages=True,
    )
    assert optimum.stamps == set()
    style = copies.after(
        replace("plots/words.py", "def word(value", "WORDS = 1\n\n\ndef word(value, ignored=WORDS, *, other"),
        stages=True,
    )
    assert style.stamps >= {"relu-kurtosis", "mup-width-transfer"}


def test_a_stage_covers_what_it_calls_in_other_packages() -> None:
    from muster.jobs.definitions import Definition

    def reached(stage: str) -> set[str]:
        found, _ = fingerprints.reach(fingerprints._definitions(fingerprints.STAGES[stage]), lambda kind: None)
        return {f"{each.module.removeprefix('muster.')}.{each.name}" for each in found}

    assert Definition("muster.errors", "MusterError") in fingerprints._without_effect()
    assert {"data.sparse_features.probabilities", "sampling.regression.power_tail"} <= reached("fit")
    assert "fitting.estimators.first_passage.passages" in reached("plot")


def train_cell(**settings: object) -> TrainCell:
    return TrainCell.model_validate({"width": 8, "seed": 0, "steps": 1, "log2_lr": [-5], **settings})


def test_cells_that_choose_alike_share_a_fingerprint_and_others_do_not() -> None:
    adam = cell_fingerprint("train", train_cell(optimizer="adam"))
    assert cell_fingerprint("train", train_cell(optimizer="adam", width=16, seed=1)) == adam
    for other in ({"optimizer": "sgd"}, {"probes": ["ntk"]}, {"loss": "squared_error"}, {"parameterization": "mup"}):
        assert cell_fingerprint("train", train_cell(**other)) != adam


def test_a_sampled_network_does_not_depend_on_the_activations_of_trained_ones() -> None:
    cell = ReluChainCell(width=8, seed=0)
    roots = fingerprints._described(EXPERIMENTS["relu_chain"].run)[1]
    found, entries = fingerprints.reach(roots, dict(fingerprints._chosen(cell)).get)
    assert {each.module for each in found} == {
        "muster.sampling.relu_chain",
        "muster.sampling.tables",
        "muster.experiments",
    }
    assert not entries


def test_planning_finds_the_code_without_importing_torch() -> None:
    """In a fresh interpreter: the test's own has torch."""
    code = (
        "import sys; from muster.jobs.fingerprint import cell_fingerprint; "
        "from muster.training.cell import TrainCell; "
        "cell_fingerprint('train', TrainCell(width=8, seed=0, steps=1, log2_lr=[-5], probes=['ntk'])); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_data_set_has_a_fingerprint_of_its_own() -> None:
    from muster.data import DATASETS

    assert len({dataset_fingerprint(name) for name in DATASETS}) == len(list(DATASETS))


def test_values_are_described_without_addresses_and_unknown_state_is_refused() -> None:
    text, found = fingerprints._described({"b": (1.5, None), "a": len})
    assert text == fingerprints._described({"a": len, "b": (1.5, None)})[0]
    assert found == []
    assert fingerprints._described(0.1)[0] != fingerprints._described(0.2)[0]
    with pytest.raises(TypeError, match="has no value"):
        fingerprints._described(object())


def test_a_stage_without_a_study_counts_all_entries() -> None:
    assert stage_fingerprint("judge") != stage_fingerprint("collect")


def test_a_registry_knows_the_module_of_entries_that_do_not() -> None:
    registry: Registry[object] = Registry("thing")
    registry.declare("lazy", "no.such.module:Thing")
    registry.register("number")(3)
    assert registry.module("lazy") == "no.such.module"
    assert registry.module("number") == __name__


def test_the_code_of_every_probe_counts_not_only_of_the_first() -> None:
    def of(*probes: str) -> str:
        return cell_fingerprint("train", train_cell(probes=list(probes)))

    first, both = of("feature_change"), of("feature_change", "ntk")
    assert len({first, both, of("feature_change", "alignment")}) == 3
    assert of("ntk", "feature_change") == both
