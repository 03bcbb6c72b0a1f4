"""Corrupted configurations, by property-based generation: each ends in one clear line, none in a traceback."""

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from muster.errors import MusterError
from tests.unit.test_examples import ROOT
from tests.workflow.studies import IMPORTED, SAMPLED, TINY, planned, write_config

OWN = (ROOT / "examples/own_trainer/own-trainer.yaml").read_text()
STUDIES = {"tiny-train": TINY, "tiny-sample": SAMPLED, "tiny-import": IMPORTED, "own-trainer": OWN}
PLAIN = {"scale": "laptop", "studies": ["all"]}
CONFIG = PLAIN | {"groups": {"some": ["tiny-train"]}, "seeds": 2, "dtype": "float64"}

# What a hand or an editor leaves in place of a value: the wrong type, an end of a range, a text that is no name.
WRONG = ["../x", None, True, -1, 0, 3, 0.5, 1e400, -1e400, float("nan"), 10**12, 10**400, "", " ", "x", "1e3", "ü",
         "a\nb", "{width}", "{", "yes", "x" * 500, [], [[]], [None], [1, "a"], ["a", "a"], {}, {"x": 1}, {"from": 1},
         {"from": 0, "to": 1e9, "step": 1e-9}, {"from": 0, "to": 1, "step": 0}, {None: 1}, {1: 2}]  # fmt: skip

JUNK = [b"\x00", b"\xff\xfe", b"\t", b"\n", b"[", b"}", b": ", b"- ", b"&a *a", b"!!python/name:os.system ", b"'", b'"',
        b"#", b"\xc3", "\u2028".encode(), b"%", b"@", b"|", b"*b", b"<<: "]  # fmt: skip


def paths(tree: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a tree, the root excluded."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*before, key)
        yield from paths(value, (*before, key))


@st.composite
def corrupted_tree(draw: st.DrawFn, tree: dict[str, Any]) -> str:
    """One to three places of a tree replaced, removed, renamed, doubled or moved."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        known = list(paths(tree))
        assume(known)
        *outer, key = draw(st.sampled_from(known))
        parent = tree
        for part in outer:
            parent = parent[part]
        value = parent[key]
        action = draw(st.sampled_from(["replace", "replace", "remove", "rename", "move", "nest"]))
        if action in ("replace", "move"):
            parent[key] = copy.deepcopy(draw(st.sampled_from(WRONG)) if action == "replace" else at(tree, draw, known))
        elif action == "nest":
            parent[key] = draw(st.sampled_from([[value], {"x": value}, {str(key): value}]))
        elif isinstance(parent, dict):
            del parent[key]
            if action == "rename":
                parent[draw(st.sampled_from([f"{key}s", str(key)[:-1], "", "X y", "study", 7]))] = value
        else:
            del parent[key]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def at(tree: Any, draw: st.DrawFn, known: list[tuple[Any, ...]]) -> Any:
    for part in draw(st.sampled_from(known)):
        tree = tree[part]
    return tree


@st.composite
def corrupted_text(draw: st.DrawFn, text: str) -> bytes:
    """Bytes inserted, removed or overwritten, lines swapped, or the end cut off."""
    content = text.encode()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        action = draw(st.sampled_from(["insert", "delete", "overwrite", "truncate", "repeat"]))
        junk = draw(st.sampled_from(JUNK))
        length = draw(st.integers(1, 12))
        middle = {"insert": junk + content[start:], "delete": content[start + length :], "truncate": b"",
                  "overwrite": junk + content[start + length :],
                  "repeat": content[start : start + 40] + content[start:]}[action]  # fmt: skip
        content = content[:start] + middle
    return content


@st.composite
def corrupted(draw: st.DrawFn) -> tuple[str, bytes]:
    """Name and content of the file that is corrupted: a study's, or config.yaml."""
    name = draw(st.sampled_from([*STUDIES, "config"]))
    text = STUDIES.get(name) or yaml.safe_dump(CONFIG)
    if draw(st.integers(0, 2)):
        return name, draw(corrupted_tree(yaml.safe_load(text))).encode()
    return name, draw(corrupted_text(text))


@pytest.fixture(scope="module")
def tally() -> dict[str, int]:
    return {"refused": 0, "still valid": 0}


@settings(
    max_examples=500,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(corrupted())
def test_a_corrupted_configuration_ends_in_one_line_that_names_its_file(
    tally: dict[str, int], case: tuple[str, bytes]
) -> None:
    name, content = case
    with tempfile.TemporaryDirectory() as folder:
        path = write_config(Path(folder), yaml.safe_dump(PLAIN), **(STUDIES if name == "config" else {name: ""}))
        (path if name == "config" else path.parent / "studies" / f"{name}.yaml").write_bytes(content)
        try:
            planned(path)
        except MusterError as caught:
            error = caught
        else:
            tally["still valid"] += 1
            return
    tally["refused"] += 1
    assert str(error).isprintable()
    assert f"{folder}/config" in error.place
    assert error.found
    assert error.remedy


def test_most_of_them_were_refused(tally: dict[str, int]) -> None:
    assert sum(tally.values()) >= 500
    assert tally["refused"] > 300


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("{from: -9, to: -5, step: 2}", "{from: -9, to: 1e9, step: 1e-9}", "a range may have 10000 steps at most"),
        ("{from: -9, to: -5, step: 2}", "{from: -9, to: .inf, step: 2}", "found inf"),
        ("seeds: 1,", "seeds: 1000000000000,", "a whole number from 1 to 1000000"),
        ("width: [8, 16], seeds: 1,", "width: {from: 1, to: 2001, step: 1}, seeds: 1000,", "2001000 cells"),
    ],
)
def test_a_slip_that_would_fill_the_memory_is_refused(tmp_path: Path, old: str, new: str, found: str) -> None:
    assert old in TINY
    with pytest.raises(MusterError, match=found):
        planned(write_config(tmp_path, "scale: smoke\n", tiny_train=TINY.replace(old, new, 1)))
