"""Change the source by one operator or number at a time and see whether a test notices: `make mutants`.

cosmic-ray finds the places and makes each change; here they are sampled, in a copy of the tree, and each is given to
the unit and statistical tests that execute its line (tests/mutants/chosen.py). A mutant that no test fails for
survives: a slip of that kind would reach a reader. Stops after `--minutes`, whatever is left of the sample. Mutants
that change nothing that is measured stand in equivalent.json: file, diff, reason.

Left out, since they change no number or are nobody's slips: strings, docstrings and what stands in f-strings;
annotations and decorators; `raise`, `assert` and zip's `strict`; the examples that `muster new-study` drafts; bit
operations and shifts for arithmetic; `is` for `==` and the other way round, and orders for `is`; `not` and `~` for a
sign; other exceptions in `except`.
"""

import argparse
import ast
import difflib
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from tests.mutants.chosen import ROOMS, ROOT, SOURCE, Map, forked

EQUIVALENT = Path(__file__).with_name("equivalent.json")
REAL = {
    "ReplaceBinaryOperator": {"Add", "Sub", "Mul", "Div", "Pow"},
    "ReplaceComparisonOperator": {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    "ReplaceUnaryOperator": {"UAdd", "USub", "Delete", "Not"},
}
UNREAL = ("ExceptionReplacer", "RemoveDecorator", "ReplaceUnaryOperator_USub_Not", "ReplaceUnaryOperator_UAdd_Not")
FIRST = 8  # tests that are given a mutant before the others
# Those whose tests did not end in time are not judged: they may loop forever, or the machine may be busy.
OUTCOMES = ("caught", "survived", "equivalent", "unfinished")


class Place(NamedTuple):
    """One change: file below src/muster, operator of cosmic-ray, its number in the file, line."""

    file: str
    operator: str
    occurrence: int
    line: int


def operators() -> Iterator[str]:
    """Operators that make realistic slips."""
    for name in operator_names():
        short = name.split("/")[-1]
        kind, *pair = short.split("_")
        real = set(pair) in (set(pair) & REAL.get(kind, set()), {"Is", "IsNot"}) and short not in UNREAL
        if real and (pair or not get_operator(name).arguments()):
            yield name


def silent(tree: ast.Module) -> Iterator[ast.expr | ast.stmt]:
    """Nodes within which no change can change a number."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert):
            yield node
        if isinstance(node, ast.keyword) and node.arg in ("example", "strict"):
            yield node.value
        parts = (getattr(node, "annotation", None), getattr(node, "returns", None))
        yield from (part for part in (*parts, *getattr(node, "decorator_list", [])) if part is not None)


def places(file: Path) -> Iterator[Place]:
    """Every change of a file that could change a number."""
    text = file.read_text().splitlines()

    def position(line: int, column: int) -> tuple[int, int]:  # ast counts bytes, cosmic-ray characters
        return line, len(text[line - 1].encode()[:column].decode())

    nowhere = [
        (position(node.lineno, node.col_offset), position(node.end_lineno or 0, node.end_col_offset or 0))
        for node in silent(ast.parse(file.read_text()))
    ]
    nodes = list(ast_nodes(get_ast_from_path(file)))
    for name in operators():
        operator = get_operator(name)()
        found = (start for node in nodes for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(found):
            if not any(first <= start < last for first, last in nowhere):
                yield Place(file.relative_to(SOURCE).as_posix(), name, occurrence, start[0])


def sample(count: int, seed: int, only: str) -> list[Place]:
    """Lines at random, all alike, and one change of each: a line of many operators is no more worth than another."""
    rng = random.Random(seed)
    lines: dict[tuple[str, int], list[Place]] = {}
    for room in ROOMS:
        for file in sorted((SOURCE / room).rglob("*.py")):
            if only in str(file):
                for place in places(file):
                    lines.setdefault((place.file, place.line), []).append(place)
    chosen = rng.sample(sorted(lines), min(count, len(lines)))
    return [rng.choice(lines[key]) for key in chosen]


def judged(copy: Path, place: Place, tests: Map, number: int) -> dict[str, object]:
    """What became of a mutant, the change as a diff and the test that failed; the copy is as before afterwards."""
    file, result = copy / "src" / "muster" / place.file, copy / "result.json"
    before, times = file.read_text(), file.stat()
    after = mutate_code(before, get_operator(place.operator)(), place.occurrence) or before
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    changed = "\n".join(line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---"))
    chosen, seconds = tests.chosen(place.file, place.line)
    found = {**place._asdict(), "diff": changed, "outcome": "survived", "tests": len(chosen), "failed": []}
    if chosen:
        file.write_text(after)
        os.utime(file, (number, number))  # bytecode goes by whole seconds: no two mutants may share one
        result.unlink(missing_ok=True)
        for part in filter(None, (chosen[:FIRST], chosen[FIRST:])):  # all files are imported before the first test
            status = forked(3 * seconds + 60, copy, ["-x", *part], result)
            if status == 4:  # a name of a test, which holds the changed number, is gone
                files = list(dict.fromkeys(test.split("::")[0] for test in part))
                status = forked(3 * seconds + 60, copy, ["-x", *files], result)
            if status != 0:
                break
        found["outcome"] = {0: "survived", None: "unfinished"}.get(status, "caught")
        found["failed"] = json.loads(result.read_text())["failed"] if result.exists() else []
        file.write_text(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60, help="beside those of recording the tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the path of the files that are changed")
    parser.add_argument("--record", type=Path, help="JSON file for the outcome of each")
    chosen = parser.parse_args()
    known = {(each["file"], each["diff"]) for each in json.loads(EQUIVALENT.read_text())}
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "muster"
        listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
        for name in filter(lambda name: (ROOT / name).is_file(), listed.splitlines()):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        tests = Map(copy)
        end = time.monotonic() + 60 * chosen.minutes
        for number, place in enumerate(sample(chosen.count, chosen.seed, chosen.only), start=1):
            if time.monotonic() > end:
                break
            each = judged(copy, place, tests, number)
            if each["outcome"] == "survived" and (place.file, each["diff"]) in known:
                each["outcome"] = "equivalent"
            found.append(each)
            by = each["failed"] or (f"{each['tests']} tests" if each["tests"] else "not executed")
            print(f"{each['outcome']:10} {place.file}:{place.line} {by}")
            print(each["diff"] if each["outcome"] != "caught" else "", flush=True)
            if chosen.record:
                chosen.record.write_text(json.dumps(found, indent=1) + "\n")
    counts = {word: sum(each["outcome"] == word for each in found) for word in OUTCOMES}
    share = counts["caught"] / max(counts["caught"] + counts["survived"], 1)
    print(f"{len(found)} mutants: {counts}; of those that change something {share:.1%} are caught")


if __name__ == "__main__":
    main()
