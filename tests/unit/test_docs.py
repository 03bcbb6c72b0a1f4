"""README and docs: every link leads to a tracked file, every command is one that its program takes."""

import argparse
import contextlib
import io
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from muster.cli import main
from muster.cli.new_study import study_text
from muster.cli.parser import SHOWN, divided, parser
from muster.config.load import load_config, load_studies
from muster.config.models import StudyConfig
from muster.registry import find_registry
from tests.workflow.studies import write_config

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/*.md", "config/*.md", "examples/*/*.md")
PAGES = [path.relative_to(ROOT).as_posix() for place in PLACES for path in sorted(ROOT.glob(place))]
PLACEHOLDER = re.compile(r"[A-Z_]+|my-[a-z_-]+|\.\.\.|…")  # STUDY, my-study
ELSEWHERE = (
    "cd",
    "conda",
    "cp",
    "find",
    "git",
    "sha256sum",
    "watch",
    "python",
)  # other programs, whose grammar is their own
PLUGIN = re.compile(r"--(slurm|kubernetes)-[a-z-]+(=.*)?")  # options of Snakemake that come with a plugin


def prose(text: str) -> str:
    return re.sub(r"^(`{3,})[^\n]*\n.*?^\1`*\n", "", text, flags=re.MULTILINE | re.DOTALL)


@cache
def tracked() -> frozenset[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return frozenset([*listed, *(parent.as_posix() for name in listed for parent in Path(name).parents)])


@cache
def studies() -> dict[str, StudyConfig]:
    return dict(load_studies(ROOT / "config/config.yaml").known)


@cache
def groups() -> frozenset[str]:
    return frozenset(load_config(ROOT / "config/config.yaml").groups)


def anchors(text: str) -> set[str]:
    """Of headings, as forges and MyST name them."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_tracked_file(page: str) -> None:
    text = re.sub(r"`[^`\n]*`", "", prose((ROOT / page).read_text(encoding="utf-8")))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.relative_to(ROOT).as_posix() in tracked(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{page}: {target}"


def commands(text: str) -> Iterator[str]:
    """Lines of shell blocks, and code within lines that calls one of our programs."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        yield from (line for line in re.sub(r"\\\n", " ", block).splitlines() if line.strip())
    for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(text)):
        if code != "muster with MUSTER_NATIVE=0" and code.startswith(
            ("muster ", "make ", "snakemake ", "dvc ", "pip ")
        ):
            yield " ".join(code.split())


def refused(grammar: argparse.ArgumentParser, words: list[str]) -> str:
    """What a parser says against words; empty if it takes them."""
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        try:
            _, unknown = grammar.parse_known_args(words)
        except SystemExit as done:
            return said.getvalue() if done.code else ""
        except Exception as error:  # DVC raises its own
            return repr(error)
    return "; ".join(word for word in unknown if word.startswith("-") and not PLUGIN.fullmatch(word))


@cache
def subcommands() -> frozenset[str]:
    return frozenset(*(action.choices for action in parser()._actions if isinstance(action.choices, dict)))


def muster(words: list[str]) -> str:
    if words in (["--help"], ["--version"]):
        return ""
    if len(words) == 1 and words[0] in subcommands():  # a command that prose names
        return ""
    own, passed = divided(words)
    if said := refused(parser(), own) or (snakemake(passed) if passed else ""):
        return said
    given = parser().parse_args(own)
    named = [getattr(given, "study", None), *(getattr(given, "studies", None) or ())]
    if getattr(given, "what", None) and given.name and not PLACEHOLDER.fullmatch(given.name):
        known_names = shown(given.what)
        return "" if given.name in known_names else f"no {given.what} {given.name}"
    examples = (path.stem for path in ROOT.glob("examples/*/*.yaml"))
    known = {*studies(), *groups(), *examples, "all", "overview", "fashion_mnist", None}
    return ", ".join(str(name) for name in named if name not in known and not PLACEHOLDER.fullmatch(str(name)))


def shown(what: str) -> Iterable[str]:
    """The names that `muster show` knows of a kind."""
    if what == "claim":
        return [claim.claim for study in studies().values() for claim in study.claims]
    return studies() if what == "study" else find_registry(SHOWN[what] or "")


@cache
def snakemake_grammar() -> argparse.ArgumentParser:
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


@cache
def rules() -> frozenset[str]:
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "workflow").rglob("*") if path.is_file())
    return frozenset(re.findall(r"^rule (\w+):", "\n".join(texts), re.MULTILINE))


def snakemake(words: list[str]) -> str:
    figures = [re.fullmatch(r"results/[a-z]+/figures/([^/]+)/([^/]+)\.svg", word) for word in words]
    for study, figure in (found.groups() for found in figures if found):
        if not PLACEHOLDER.fullmatch(study) and figure not in studies()[study].figures:
            return f"{study} has no figure {figure}"
    first = words[0] if words and re.fullmatch(r"[a-z]+", words[0]) else "all"
    return refused(snakemake_grammar(), words) or ("" if first in rules() else f"no rule {first}")


def make(words: list[str]) -> str:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return ", ".join(word for word in words if "=" not in word and word not in (*targets, "TARGET"))


def dvc(words: list[str]) -> str:
    from dvc.cli.parser import get_main_parser

    return refused(get_main_parser(), words)


def pip(words: list[str]) -> str:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [name for word in words for name in re.findall(r"^\.\[(\w+)\]$", word)]
    files = [word for word in words if word.endswith((".lock", ".txt"))]
    return ", ".join([n for n in named if n not in extras] + [f for f in files if f not in tracked()])


PROGRAMS: dict[str, Callable[[list[str]], str]] = {
    "muster": muster, "snakemake": snakemake, "make": make, "dvc": dvc, "pip": pip,
}  # fmt: skip


def mistakes(line: str) -> list[str]:
    """What is wrong with a line of shell, part by part."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&|;"):
            parts.append([])
        else:
            parts[-1].append(word)
    said = []
    for words in parts:
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # the environment of a command
            words.pop(0)
        if not words:
            continue
        program = words[0].removeprefix(".venv/bin/")
        if program in PROGRAMS:
            said += [f"{program}: {found}" for found in [PROGRAMS[program](words[1:])] if found]
        elif program not in (*ELSEWHERE, "pytest"):
            said.append(f"unknown program {program}")
    return said


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_command_is_one_that_its_program_takes(page: str) -> None:
    found = {line: said for line in commands((ROOT / page).read_text(encoding="utf-8")) if (said := mistakes(line))}
    assert not found


@pytest.mark.parametrize(
    "line",
    ["muster rnu x", "muster run relu-kurtosi", "muster fit-table a.csv --margins 1", "make reprodce",
     "snakemake figurs",
     "snakemake --core 2 --configs a=1", "snakemake results/laptop/figures/relu-kurtosis/no.svg", "dvc pul",
     "pip install -e '.[gpu]'", "rm -rf /", "cd x && muster lst", "muster run relu-kurtosis -- --dryrnu"],
)  # fmt: skip
def test_a_wrong_command_is_noticed(line: str) -> None:
    assert mistakes(line)


def test_python_of_the_api_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    for block in re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/api.md").read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/api.md", "exec"), {})
    assert "ols_t" in capsys.readouterr().out


def examples_of_help() -> Iterator[str]:
    (commands,) = [action.choices for action in parser()._actions if isinstance(action.choices, dict)]
    for command in commands.values():
        yield from re.findall(r"^ +(muster (?:[^ \n]| (?! ))+)", command.epilog or "", re.MULTILINE)


@pytest.mark.parametrize("line", sorted({*examples_of_help()}))
def test_an_example_of_a_commands_help_is_one_that_it_takes(line: str) -> None:
    words = shlex.split(line.partition(" && ")[0].rstrip("\\"))[1:]
    assert muster(words) == ""
    given = parser().parse_args(divided(words)[0])
    if not (study := studies().get(getattr(given, "study", None) or "")):
        return
    names = [getattr(given, "figure", None), getattr(given, "fit", None), *(getattr(given, "claim", None) or ())]
    assert {*names} <= {None, *study.figures, *study.fits, *(claim.claim for claim in study.claims)}


def test_the_example_of_a_difference_validates_in_the_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shown,) = re.findall(
        "^```yaml\n(.*?)^```", (ROOT / "docs/adding-a-study.md").read_text(), re.MULTILINE | re.DOTALL
    )
    example = yaml.safe_load(shown)
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, "scale: laptop\n")
    study = yaml.safe_load(study_text("my-study", "train"))
    study["fits"] |= example["fits"]
    study["claims"] = example["claims"]
    Path("config/studies/my-study.yaml").write_text(yaml.safe_dump(study))
    assert main(["validate", "my-study"]) == 0, capsys.readouterr().err
    (fit,) = example["fits"].values()
    assert fit["estimator"] == "lr_transfer_difference"
