"""What a definition says and names, on a package of a few lines that is edited under the reader."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muster.jobs import definitions
from muster.jobs.definitions import WHOLE, Definition, content, own_hash, resolve, source, source_file

WORK = '''\
"""A module."""
import math
from typing import TYPE_CHECKING

from toy import passed_on
from toy.inner import deep as below

if TYPE_CHECKING:
    from toy.typed import Thing

LIMIT = 3
TABLE = {"a": below.first}
TABLE["b"] = passed_on
math.tau


def work(x: "Thing", scale: float = LIMIT) -> float:
    """What it does."""
    from toy.lazy import later

    y: float = below.second(x) * scale  # why
    return later(y) + math.pi


def hides(work: int) -> list[int]:
    below = [LIMIT for LIMIT in range(work)]
    return below


def shares(items: list[int]) -> int:
    return sum(LIMIT for LIMIT in items) + LIMIT
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package `toy` in place of muster's source."""
    folder = tmp_path / "toy"
    (folder / "inner").mkdir(parents=True)
    files = {
        "__init__.py": "from toy.inner.deep import first as passed_on\n",
        "inner/__init__.py": "from toy.inner import deep\n",
        "inner/deep.py": "def first(x):\n    return x\n\ndef second(x):\n    return first(x) + 1\n",
        "lazy.py": "def later(x):\n    return 2 * x\n",
        "typed.py": "class Thing: ...\n",
        "work.py": WORK,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(definitions, "packages", lambda: frozenset({"toy"}))
    forget()
    yield folder
    forget()


def forget() -> None:
    for cached in (source, source_file, content, own_hash, definitions.other_sources):
        cached.cache_clear()


def named(name: str, module: str = "toy.work") -> set[tuple[str, str]]:
    return {(target.module, target.name) for _, target in content(Definition(module, name)).named}


def test_names_are_followed_through_imports_lazy_ones_and_packages_that_pass_them_on(package: Path) -> None:
    assert named("work") == {("toy.work", "LIMIT"), ("toy.inner.deep", "second"), ("toy.lazy", "later")}
    assert named("second", "toy.inner.deep") == {("toy.inner.deep", "first")}
    assert resolve(Definition("toy", "passed_on")) == Definition("toy.inner.deep", "first")
    assert resolve(Definition("toy.inner", "deep")) == Definition("toy.inner.deep", WHOLE)
    assert resolve(Definition("numpy", "array")) is None


def test_what_fills_a_name_later_is_part_of_it(package: Path) -> None:
    assert named("TABLE") == {("toy.work", "TABLE"), ("toy.inner.deep", "first")}
    assert "'b'" in content(Definition("toy.work", "TABLE")).text


def test_variables_hide_names_only_where_python_does(package: Path) -> None:
    assert named("hides") == set()
    assert named("shares") == {("toy.work", "LIMIT")}


def test_a_module_that_is_handed_on_counts_whole(package: Path) -> None:
    (package / "work.py").write_text("from toy.inner import deep\n\ndef use():\n    return vars(deep)\n")
    assert named("use") == {("toy.inner.deep", WHOLE)}
    assert "second" in content(Definition("toy.inner.deep", WHOLE)).text


def edited(package: Path, old: str, new: str, name: str = "work") -> bool:
    """Whether an edit of work.py changes what a definition says."""
    before = own_hash(Definition("toy.work", name))
    assert old in WORK
    (package / "work.py").write_text(WORK.replace(old, new, 1))
    forget()
    return own_hash(Definition("toy.work", name)) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # why", "  # because"),
        ('"""What it does."""', '"""Else."""\n    pass'),
        ('x: "Thing"', "x: object"),
        (") -> float", ")"),
        ("y: float = ", "y = "),
        ("below.second(x) * scale", "(below.second(x)\n         * scale)"),
        ("def hides(work: int)", "def hides_nothing(work: int)"),
        ("from toy.inner import deep as below", "import toy.inner.deep as below"),
    ],
)
def test_what_changes_no_number_changes_no_hash(package: Path, old: str, new: str) -> None:
    assert not edited(package, old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("* scale", "/ scale"),
        ("= LIMIT)", "= 3)"),
        ("below.second", "below.first"),
        ("math.pi", "math.e"),
        ("return later(y) + math.pi", "if y:\n        return later(y) + math.pi"),
        ("math.tau", "math.seterr()"),  # done on import, to no name of the module: it may concern any of them
    ],
)
def test_what_may_change_a_number_changes_the_hash(package: Path, old: str, new: str) -> None:
    assert edited(package, old, new)


def test_a_model_of_settings_counts_without_its_fields_and_checks(package: Path) -> None:
    model = (
        "class Cell(Base):\n    axes: ClassVar[tuple] = ('a',)\n    rate: float = Field(1.0)\n"
        "    @model_validator(mode='after')\n    def _check(self):\n        return self\n"
        "    def double(self):\n        return 2 * self.rate\n"
    )

    def hashed(change: Callable[[str], str]) -> str:
        (package / "work.py").write_text(change(model))
        forget()
        return own_hash(Definition("toy.work", "Cell"), settings=True)

    before = hashed(lambda text: text)
    assert (
        hashed(lambda text: text.replace("rate: float = Field(1.0)", "rate: float = 2.0\n    more: int = 0")) == before
    )
    assert hashed(lambda text: text.replace("return self\n", "raise ValueError\n", 1)) == before
    assert hashed(lambda text: text.replace("2 * self", "3 * self")) != before
    assert hashed(lambda text: text.replace("('a',)", "('b',)")) != before


def test_source_that_is_not_python_counts_beside_its_modules(package: Path) -> None:
    def hashes() -> list[str]:
        forget()
        return [
            own_hash(Definition(f"toy.{module}", name)) for module, name in (("inner.deep", "first"), ("lazy", "later"))
        ]

    before = hashes()
    (package / "inner/kernels").mkdir()
    (package / "inner/kernels/network.cpp").write_text("int a;\n")
    once = hashes()
    (package / "inner/kernels/network.cpp").write_text("int b;\n")
    twice = hashes()
    assert len({before[0], once[0], twice[0]}) == 3
    assert before[1] == once[1] == twice[1]


def test_a_name_that_is_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match="no source of module"):
        source("no_such_module")
