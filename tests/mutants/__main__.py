"""Change the source by one operator or number at a time and see whether a test notices: `make mutants`.

cosmic-ray finds the places and makes each change; here they are sampled, in a copy of the tree, and each is given to
the tests that import its module, the smallest first, then to those of its room. A mutant that no test fails for
survives: a slip of that kind would reach a reader. Stops after `--minutes`, whatever is left of the sample. Mutants
that change nothing that is measured stand in equivalent.json: file, diff, reason.
"""

import argparse
import difflib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
ROOMS = ("fitting", "claims", "parameterizations", "training", "sampling", "statistics")
EQUIVALENT = Path(__file__).with_name("equivalent.json")
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Pow"}
# Nobody's slips; the replacer of exceptions fails on `except (A, b.C)` besides.
UNREAL = ("ReplaceUnaryOperator_Invert", "RemoveDeco", "ExceptionReplacer")
SECONDS = 240  # for the tests of one mutant
TESTS = 10  # test files a mutant
KINDS = ("unit", "statistical", "parity")
REGISTERED = re.compile(r"\.register\(\s*\"(\w+)\"")
SCHEMA = "tests/unit/config/test_schema.py"  # holds every field of a study with its bounds
# Those whose tests did not end in time are not judged: they may loop forever, or the machine may be busy.
OUTCOMES = ("caught", "survived", "equivalent", "unfinished")


class Place(NamedTuple):
    """One change: file below src/muster, operator of cosmic-ray, its number in the file, line."""

    file: str
    operator: str
    occurrence: int
    line: int


def operators() -> Iterator[str]:
    """Operators that make realistic slips: bit operations and shifts for arithmetic only raise errors."""
    for name in operator_names():
        short = name.split("/")[-1]
        if short.startswith("ReplaceBinaryOperator_"):
            if set(short.split("_")[1:]) <= ARITHMETIC:
                yield name
        elif not get_operator(name).arguments() and not short.startswith(UNREAL):
            yield name


def places(file: Path) -> Iterator[Place]:
    """Every change of a file, those of annotations left out by the choice of operators."""
    tree = get_ast_from_path(file)
    nodes = list(ast_nodes(tree))
    for name in operators():
        operator = get_operator(name)()
        found = (at for node in nodes for at in operator.mutation_positions(node))
        for occurrence, ((line, _), _end) in enumerate(found):
            yield Place(file.relative_to(ROOT / "src" / "muster").as_posix(), name, occurrence, line)


def sample(count: int, seed: int, only: str) -> list[Place]:
    """Lines at random, all alike, and one change of each: a line of many operators is no more worth than another."""
    rng = random.Random(seed)
    lines: dict[tuple[str, int], list[Place]] = {}
    for room in ROOMS:
        for file in sorted((ROOT / "src" / "muster" / room).rglob("*.py")):
            if only in str(file):
                for place in places(file):
                    lines.setdefault((place.file, place.line), []).append(place)
    chosen = rng.sample(sorted(lines), min(count, len(lines)))
    return [rng.choice(lines[key]) for key in chosen]


def nearest(file: str, line: str) -> list[str]:
    """Tests that name the module or what it registers, the smallest first; then those of its name, then those of its
    room that name its neighbours. A field's line changes the schema besides."""
    module = "muster." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    package, _, stem = module.rpartition(".")
    entries = REGISTERED.findall((ROOT / "src" / "muster" / file).read_text())
    of_module = re.compile("|".join([re.escape(module), rf"from {re.escape(package)} import [^\n]*\b{stem}\b"]))
    of_entry = re.compile("|".join(rf"[\"' :]{re.escape(name)}\b" for name in entries) or r"\A\Z")
    paths = [path for kind in KINDS for path in sorted((ROOT / "tests" / kind).rglob("test_*.py"))]
    texts = {path: path.read_text() for path in sorted(paths, key=lambda path: path.stat().st_size)}
    ordered: dict[Path, None] = {}
    for near in (of_module.search, of_entry.search, None, re.compile(re.escape(package)).search):
        ordered |= dict.fromkeys(path for path, text in texts.items() if (near(text) if near else stem in path.stem))
    schema = [SCHEMA] if "Field(" in line else []
    return [*schema, *(path.relative_to(ROOT).as_posix() for path in list(ordered)[:TESTS])]


def outcome(copy: Path, place: Place, python: str, seconds: float) -> tuple[str, str]:
    """`caught` by a test that fails, `survived`, or `unfinished`, and the change as a diff; the copy is as before
    afterwards."""
    file = copy / "src" / "muster" / place.file
    before = file.read_text()
    after = mutate_code(before, get_operator(place.operator)(), place.occurrence)
    diff = "\n".join(difflib.unified_diff(before.splitlines(), (after or before).splitlines(), lineterm="", n=0))
    tests = nearest(place.file, before.splitlines()[place.line - 1])
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        file.write_text(after or before)
        command = [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=seconds, check=False)
        return "caught" if ran.returncode else "survived", diff
    except subprocess.TimeoutExpired:
        return "unfinished", diff
    finally:
        file.write_text(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has muster's requirements")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the path of the files that are changed")
    parser.add_argument("--record", type=Path, help="JSON file for the outcome of each")
    chosen = parser.parse_args()
    known = {(each["file"], each["diff"]) for each in json.loads(EQUIVALENT.read_text())}
    end = time.monotonic() + 60 * chosen.minutes
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "muster"
        parts = ("src", "tests", "config", "benchmarks", "examples", "workflow")
        for part in parts:
            if (ROOT / part).exists():
                shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "Makefile", "README.md", "Snakefile"):
            shutil.copy(ROOT / name, copy / name)
        for place in sample(chosen.count, chosen.seed, chosen.only):
            if (left := end - time.monotonic()) <= 0:
                break
            found_out, diff = outcome(copy, place, chosen.python, min(SECONDS, left + 30))
            changed = "\n".join(
                line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
            )
            if found_out == "survived" and (place.file, changed) in known:
                found_out = "equivalent"
            found.append({**place._asdict(), "outcome": found_out, "diff": changed})
            print(f"{found_out:10} {place.file}:{place.line}", *([] if found_out == "caught" else [changed]), sep="\n")
            sys.stdout.flush()
    counts = {word: sum(each["outcome"] == word for each in found) for word in OUTCOMES}
    judged = counts["caught"] + counts["survived"]
    share = counts["caught"] / max(judged, 1)
    print(f"{len(found)} mutants: {counts}; of those that change something {share:.1%} are caught")
    if chosen.record:
        chosen.record.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
