"""Which tests execute a line, recorded once by coverage; tests in forked processes that need import muster alone."""

import ast
import hashlib
import importlib
import json
import multiprocessing
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "muster"
ROOMS = ("fitting", "claims", "parameterizations", "training", "sampling", "statistics", "models", "optimizers")
KINDS = (*(f"unit/{room}" for room in (*ROOMS, "config", "tables", "plan", "api")), "statistical")
SCHEMA = "tests/unit/config/test_schema.py"  # holds every field of a study with its bounds
KEPT = ROOT / "build" / "mutants"
SECONDS = 60  # of the tests of one mutant, as recorded
# What muster and its tests import: most of the time of a run of few tests.
IMPORTED = ("torch", "pandas", "scipy.stats", "scipy.optimize", "statsmodels.api", "pydantic", "seaborn")


class Watch:
    """Plugin of pytest: seconds and failures. `switch` is given the test that runs, or its file while fixtures are
    made, which later tests may share."""

    def __init__(self, switch: Callable[[str], object] = str) -> None:
        self.switch = switch
        self.seconds: Counter[str] = Counter()
        self.failed: dict[str, bool] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.switch(item.nodeid.split("::")[0])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.switch(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        self.failed[report.nodeid] = self.failed.get(report.nodeid, False) or not report.passed


def run(copy: Path, arguments: list[str], result: Path, data: Path | None) -> int:
    """pytest on a copy of the tree, in this process; with `data` under coverage. Writes which tests failed, and the
    seconds of the others."""
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy / "src")
    sys.path[:] = [str(copy / "src"), str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    watch = Watch()
    if data:
        measured = coverage.Coverage(str(data), config_file=False, source=[f"src/muster/{room}" for room in ROOMS])
        measured.set_option("run:relative_files", True)
        measured.start()
        watch.switch = measured.switch_context
    status = int(pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[watch]))
    if data:
        measured.stop()
        measured.save()
    passed = {test: watch.seconds[test] for test, failed in watch.failed.items() if not failed}
    result.write_text(json.dumps({"passed": passed, "failed": [test for test in watch.failed if watch.failed[test]]}))
    return status


def forked(seconds: float, copy: Path, arguments: list[str], result: Path, data: Path | None = None) -> int | None:
    """Exit status of `run` in a process of its own, which has what is imported here; None if it took too long."""

    def target() -> None:
        os.setpgid(0, 0)
        with result.with_suffix(".log").open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os._exit(run(copy, arguments, result, data))

    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join(seconds)
    status = process.exitcode
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    return status


class Map:
    """Tests by the lines that they execute. What is kept is made anew where the source, or a test's file, changed."""

    def __init__(self, copy: Path) -> None:
        for name in IMPORTED:
            importlib.import_module(name)
        KEPT.mkdir(parents=True, exist_ok=True)
        data, index = KEPT / "coverage", KEPT / "tests.json"
        result, part = copy.parent / "result.json", copy.parent / "part"
        source = hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(SOURCE.rglob("*.py")))).hexdigest()
        kept = json.loads(index.read_text()) if index.exists() else {}
        if kept.get("source") != source:
            data.unlink(missing_ok=True)
            kept = {"source": source, "digests": {}, "seconds": {}}
        paths = [path for kind in KINDS for path in sorted((ROOT / "tests" / kind).rglob("test_*.py"))]
        now = {str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        if stale := [file for file in now if kept["digests"].get(file) != now[file]]:
            if forked(3600, copy, stale, result, part) is None:
                sys.exit("the tests could not be recorded in an hour")
            whole, new = coverage.CoverageData(str(data)), coverage.CoverageData(str(part))
            new.read()
            if data.exists():  # what has not been read is overwritten
                whole.read()
            whole.update(new)
            found = json.loads(result.read_text())
            others = {test: took for test, took in kept["seconds"].items() if test.split("::")[0] not in stale}
            kept |= {"digests": now, "seconds": others | found["passed"]}
            index.write_text(json.dumps(kept))
            print(
                f"{len(found['passed'])} tests recorded; left out, as they did not pass:", *found["failed"], flush=True
            )
        self.data = coverage.CoverageData(str(data))
        self.data.read()
        self.seconds: dict[str, float] = kept["seconds"]
        self.files: dict[str, list[str]] = {}
        for test in sorted(self.seconds, key=self.seconds.__getitem__):
            self.files.setdefault(test.split("::")[0], []).append(test)

    def chosen(self, file: str, line: int) -> tuple[list[str], float]:
        """Tests for a line, and their seconds: one of each function, the module's own first, then the fastest; then the
        others of their files, since what is kept between tests was made in one of them only."""
        direct = sorted(self.executing(file, line), key=self.seconds.__getitem__)
        seen: Counter[str] = Counter()
        rank: dict[str, tuple[int, bool]] = {}
        for test in direct:
            function = test.split("[")[0]
            rank[test] = (seen[function], Path(file).stem not in function)
            seen[function] += 1
        beside = dict.fromkeys(test for each in direct for test in self.files[each.split("::")[0]] if test not in rank)
        chosen: list[str] = []
        total = 0.0
        for test in [*sorted(direct, key=rank.__getitem__), *sorted(beside, key=self.seconds.__getitem__)]:
            if not chosen or total + self.seconds[test] < SECONDS:
                chosen.append(test)
                total += self.seconds[test]
        return chosen, total

    def executing(self, file: str, line: int) -> set[str]:
        """Tests that execute a line's statement; where that happens once, at import or for a cache, what uses it."""
        functions: list[ast.FunctionDef] = []
        for node in ast.walk(ast.parse((SOURCE / file).read_text())):  # outer ones first
            if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
                statement = node
                if isinstance(node, ast.FunctionDef) and line >= node.body[0].lineno:
                    functions.append(node)
        body, last = getattr(statement, "body", None), (statement.end_lineno or 0) + 1
        if isinstance(statement, ast.FunctionDef):  # a default
            return self.tests(file, range(statement.body[0].lineno, last))
        if body:  # the condition alone
            last = max(body[0].lineno, statement.lineno + 1)
        found = set(self.files[SCHEMA]) if "Field(" in ast.unparse(statement) else set()
        if functions:
            found = self.tests(
                file, range(statement.lineno, max(body[0].lineno, statement.lineno + 1) if body else last)
            )
            names = [each.name for each in functions if "cache" in " ".join(map(ast.unparse, each.decorator_list))]
        else:
            stored = (each for each in ast.walk(statement) if isinstance(each, ast.Name))
            names = [each.id for each in stored if isinstance(each.ctx, ast.Store)]
        if names:
            word = re.compile("|".join(rf"\b{name}\b" for name in names))
            for path in (path for room in ROOMS for path in (SOURCE / room).rglob("*.py")):
                uses = [at for at, text in enumerate(path.read_text().splitlines(), 1) if word.search(text)]
                found |= self.tests(str(path.relative_to(SOURCE)), uses)
        return found or (set() if functions else self.tests(file))

    def tests(self, file: str, lines: Iterable[int] | None = None) -> set[str]:
        """Passed tests that execute any of these lines of a file, or any line; all of a test file if fixtures do."""
        by_line = self.data.contexts_by_lineno(f"src/muster/{file}")
        contexts = {context for line in (by_line if lines is None else lines) for context in by_line.get(line, [])}
        return {test for context in contexts for test in self.files.get(context, [context]) if test in self.seconds}
