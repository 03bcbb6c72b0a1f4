"""Change the source by one operator or number at a time and see whether a test notices: `make mutants`.

cosmic-ray finds the places and makes each change; they are sampled here, in a copy of the tree, and each is given to
the unit and statistical tests that execute its line (chosen.py). A mutant that no test fails for survives: a slip of
that kind would reach a reader. Those that change nothing that is measured stand in equivalent.json, with the reason.
"""

import argparse
import difflib
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from chosen import ROOMS, ROOT, SOURCE, Map
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from parso.tree import NodeOrLeaf

# What is put for each other: no slip puts a bit operation for a sum, `is` for <, `not` for a sign.
ALIKE = ("Add Sub Mul Div FloorDiv Mod Pow", "Eq NotEq Lt LtE Gt GtE", "Is IsNot", "BitAnd BitOr", "Invert Delete",
         "UAdd USub Delete", "Not Delete")  # fmt: skip
ORDER = {"Lt", "LtE", "Gt", "GtE"}  # never put between words, of which nobody asks which comes first
# Where no change can change a number: words, what is refused and how, annotations, what `muster new-study` drafts.
SILENT = ("decorator", "fstring", "raise_stmt", "assert_stmt", "except_clause", "tfpdef")


def silent(node: NodeOrLeaf) -> bool:
    """Whether a node lies where no change can change a number."""
    if (parent := node.parent) is None:
        return False
    annotation = node in (getattr(parent, "annotation", None), parent.type == "annassign" and parent.children[1])
    keyword = parent.type == "argument" and parent.children[0].get_code().strip() in ("example", "strict")
    marker = node.type == "operator" and parent.type in ("dictorsetmaker", "parameters")  # {**mapping}, def f(*, x)
    typing = node.type == "if_stmt" and node.children[1].get_code().strip() == "TYPE_CHECKING"
    return annotation or keyword or marker or typing or node.type in SILENT or silent(parent)


def beside_a_word(node: NodeOrLeaf, start: tuple[int, int]) -> bool:
    """Whether a string constant stands beside the operator of a comparison that begins at a place."""
    at = [child.start_pos for child in node.children].index(start)
    return "string" in (node.children[at - 1].type, node.children[at + 1].type)


@cache
def changes(file: str) -> dict[int, list[tuple[str, int]]]:
    """Changes of a file that could change a number, by line: operator, and which of the places where it applies."""
    nodes, found = list(ast_nodes(get_ast_from_path(SOURCE / file))), {}
    for name, operator in ((name, get_operator(name)) for name in operator_names()):
        pair = set(name.split("/")[-1].split("_")[1:])
        if operator.arguments() or not any(pair <= set(kind.split()) for kind in ALIKE):
            continue
        positions = ((node, start) for node in nodes for start, _ in operator().mutation_positions(node))
        for occurrence, (node, start) in enumerate(positions):
            if not silent(node) and not (pair & ORDER and beside_a_word(node, start)):
                found.setdefault(start[0], []).append((name, occurrence))
    return found


def sample(seed: int, only: str) -> Iterator[tuple[str, int, str, int]]:
    """Lines at random, all alike, and one change of each: a line of many operators is no more worth than another."""
    rng = random.Random(seed)
    paths = [path for room in ROOMS for path in (SOURCE / room).rglob("*.py")]
    texts = {str(path.relative_to(SOURCE)): path.read_text() for path in paths}
    lines = [(file, at) for file in sorted(texts) if only in file for at in range(1, texts[file].count("\n") + 1)]
    rng.shuffle(lines)
    for file, line in lines:
        if found := changes(file).get(line):
            yield file, line, *rng.choice(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60, help="beside those of recording the tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the path of the files that are changed")
    chosen = parser.parse_args()
    equivalent = json.loads((ROOT / "tests/mutants/equivalent.json").read_text())
    known = {(each["file"], each["diff"]) for each in equivalent}
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "muster"
        # Environments and caches stay behind; .test holds the studies that tests read.
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".[!t]*", "build", "laptop"))
        tests = Map(copy)
        end = time.monotonic() + 60 * chosen.minutes
        for number, (file, line, operator, occurrence) in enumerate(sample(chosen.seed, chosen.only)):
            begin = time.monotonic()
            if number == chosen.count or begin > end:
                break
            path = copy / "src" / "muster" / file
            before = path.read_text()
            after = mutate_code(before, get_operator(operator)(), occurrence)
            path.write_text(after)
            os.utime(path, (number, number))  # bytecode goes by whole seconds: no two mutants may share one
            outcome, by = tests.judged(file, line)
            path.write_text(before)
            changed = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))[2:]
            diff = "\n".join(line for line in changed if line[0] in "+-")
            if outcome == "survived" and (file, diff) in known:
                outcome = "equivalent"
            counts[outcome] += 1
            print(f"{outcome:10} {file}:{line} {by} {time.monotonic() - begin:.0f} s\n{diff}", flush=True)
    share = counts["caught"] / max(counts["caught"] + counts["survived"], 1)
    print(f"{dict(counts)}: caught {share:.1%} of those that change something and whose tests ended")


main()
