"""Which tests execute a line, as coverage recorded it; pytest in forked processes, which need import muster alone."""

import ast
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "muster"
ROOMS = ("fitting", "claims", "parameterizations", "training", "sampling", "statistics", "models", "optimizers")
KINDS = (*(f"unit/{room}" for room in (*ROOMS, "config", "tables", "plan", "api", "native")), "statistical")
FIELDS = re.compile(r"test_the_file_is_what_the_models_say|config/test_options\.py")  # hold defaults and bounds
KEPT = ROOT / "build" / "mutants"
SECONDS = 15  # of the tests of one mutant, as recorded, of the processor
LIMIT = 30  # of the processor too, and eight times that by the clock, which runs on while the machine is busy
# What muster and its tests import: most of the time of a run of few tests.
IMPORTED = ("torch", "pandas", "scipy.stats", "scipy.optimize", "statsmodels.api", "pydantic", "seaborn")


def names_in(tree: ast.AST) -> list[ast.Name]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Name)]


class Watch:
    """Plugin of pytest: the tests that are wanted, in order, beside those whose names are new, since a name may hold
    the number that was changed; their seconds of the processor, since other work on the machine must not choose for us,
    and None for those that did not pass."""

    def __init__(self, wanted: Iterable[str], known: Iterable[str]) -> None:
        self.rank = {test: rank for rank, test in enumerate(wanted)}
        self.others = set(known) - set(self.rank)
        self.ran: dict[str, float | None] = {}
        self.begin = 0.0

    def pytest_runtest_logstart(self) -> None:
        self.begin = sum(os.times()[:4])

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = [item for item in items if item.nodeid not in self.others]
        items[:] = sorted(kept, key=lambda item: self.rank.get(item.nodeid, 0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before, now = self.ran.get(report.nodeid, 0.0), sum(os.times()[:4])
        self.ran[report.nodeid] = before + now - self.begin if report.passed and before is not None else None
        self.begin = now


def run(copy: Path, arguments: list[str], watch: Watch, result: Path) -> int:
    """pytest in a process of its own, which has what is imported here, on a copy of the tree; its exit status, or
    minus the signal that ended it. Writes what `watch` saw."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 3  # pytest's own for internal errors
    try:
        if "-x" in arguments:
            signal.alarm(8 * LIMIT)
            signal.setitimer(signal.ITIMER_PROF, LIMIT)
        log = os.open(result.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(copy)
        os.environ |= {"PYTHONPATH": str(copy / "src"), "COVERAGE_FILE": str(result.with_suffix(".coverage"))}
        sys.path[:0] = [str(copy / "src"), str(copy)]
        status = int(pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[watch]))
        result.write_text(json.dumps(watch.ran))
    finally:
        os._exit(status)


class Map:
    """Tests by the lines that they execute: recorded again, a test file at a time, where it or the source changed."""

    def __init__(self, copy: Path) -> None:
        for name in IMPORTED:
            __import__(name)
        KEPT.mkdir(parents=True, exist_ok=True)
        self.copy = copy
        self.seconds: dict[str, float] = {}
        self.known: set[str] = set()
        source, kept = b"\0".join(path.read_bytes() for path in sorted((copy / "src/muster").rglob("*.py"))), set()
        record = ["--cov-context=test", "--cov-report=", *(f"--cov=src/muster/{room}" for room in ROOMS)]
        for path in (path for kind in KINDS for path in sorted((copy / "tests" / kind).rglob("test_*.py"))):
            name = str(path.relative_to(copy))
            result = KEPT / (hashlib.sha256(source + name.encode() + path.read_bytes()).hexdigest()[:16] + ".json")
            if not result.exists():
                print("recording", name, flush=True)
                status = run(copy, [*record, name], Watch([], []), result)
                if status not in (0, 1, 5):  # passed, failed in part, none chosen: else no mutant would be shown to it
                    result.unlink(missing_ok=True)
                    raise SystemExit(f"{name} could not be recorded: {result.with_suffix('.log').read_text()}")
            kept.add(result.stem)
            ran = json.loads(result.read_text())
            print(*(f"not used, it does not pass here: {test}\n" for test in ran if ran[test] is None), sep="", end="")
            self.known |= set(ran)
            self.seconds |= {test: seconds for test, seconds in ran.items() if seconds is not None}
        for path in (path for path in KEPT.iterdir() if path.stem not in kept):
            path.unlink(missing_ok=True)  # two runs at once tidy the same folder
        whole = coverage.Coverage(str(copy.parent / "coverage"), messages=False)
        whole.combine([str(path) for path in KEPT.glob("*.coverage")], keep=True)
        self.data = whole.get_data()

    def judged(self, file: str, line: int) -> tuple[str, list[str]]:
        """What the tests of a line say of the copy as it is: caught, survived or, beyond LIMIT, unfinished; and which
        failed. Those that hold fields first, then its module's own, then the fastest, then others of their files: what
        tests share one has made."""
        direct, stem = self.executing(file, line), Path(file).stem
        files = {test.split("::")[0] for test in direct}
        beside = (test for test in self.seconds if test.split("::")[0] in files)
        chosen, left = [], float(SECONDS)

        def rank(test: str) -> tuple[bool, bool, bool, float]:
            return test not in direct, not FIELDS.search(test), stem not in test, self.seconds[test]

        for test in sorted(beside, key=rank):
            if not chosen or self.seconds[test] < left:
                chosen.append(test)
                left -= self.seconds[test]
        if not chosen:
            return "survived", ["no test executes it"]
        result = self.copy.parent / "result.json"
        result.unlink(missing_ok=True)
        asked = dict.fromkeys(test.split("::")[0] for test in chosen)
        status = run(self.copy, ["-x", *asked], Watch(chosen, self.known), result)
        ran = json.loads(result.read_text()) if result.exists() else {}
        failed = [test for test, seconds in ran.items() if seconds is None]
        ended = "unfinished" if -status in (signal.SIGALRM, signal.SIGPROF) else "caught"
        return "survived" if status in (0, 5) else ended, failed or [f"{len(ran)} tests"]

    def executing(self, file: str, line: int) -> set[str]:
        """Tests that execute a line, a lambda's too; where that happens at import, those of the lines that use what it
        defines."""
        tree = ast.parse((SOURCE / file).read_text())
        around = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= line <= (n.end_lineno or 0)]
        inner = around[-1]
        if any(isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line for node in around):
            # A constant within an expression has no bytecode of its line: up to the statement's first.
            tried = (self.tests(file, [at]) for at in range(line, inner.lineno - 1, -1))
            return next(filter(None, tried), set())
        declares = re.search(r"\b(Field\(|bounds=)", ast.unparse(inner))
        bodies = [node.body for node in ast.walk(inner) if isinstance(node, ast.Lambda)]
        if not declares and any(body.lineno <= line <= (body.end_lineno or 0) for body in bodies):
            return self.tests(file, [line])
        found = set(filter(FIELDS.search, self.seconds)) if declares else set()
        stored = {node.id for node in names_in(inner) if isinstance(node.ctx, ast.Store)}
        # A loop at import fills registries: with what it holds, or with what stands in a table above it.
        loops = [n for n in tree.body if isinstance(n, ast.For)]
        loops = [n for n in loops if n is inner or stored & {node.id for node in names_in(n)}]
        filled = {node.id for loop in loops for node in names_in(loop) if isinstance(node.ctx, ast.Load)}
        names = [inner.name] if hasattr(inner, "name") else sorted(stored | {each for each in filled if each.isupper()})
        word = re.compile("|".join(rf"\b{name}\b" for name in names))
        for path in (path for room in ROOMS for path in (SOURCE / room).rglob("*.py") if names):
            uses = [at for at, text in enumerate(path.read_text().splitlines(), 1) if word.search(text)]
            found |= self.tests(str(path.relative_to(SOURCE)), uses)
        return found or self.tests(file)

    def tests(self, file: str, lines: Iterable[int] | None = None) -> set[str]:
        """Tests that execute any of these lines of a file, or any line; all of a test file if its fixtures do."""
        by_line = self.data.contexts_by_lineno(f"src/muster/{file}")
        found = {context for line in (by_line if lines is None else lines) for context in by_line.get(line, [])}
        files = {context.split("::")[0] for context in found if not context.endswith("|run")} - {""}
        return {test for test in self.seconds if f"{test}|run" in found or test.split("::")[0] in files}
