"""C++ by its tokens: what changes them, and what does not."""

from pathlib import Path

import pytest

import muster.native
from muster.jobs.tokens import tokens

SOURCES = [path for path in Path(muster.native.__file__).parent.rglob("*") if path.suffix in (".h", ".cpp")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("int a=b+c;", "int  a =\n\tb + c ; // sum"),
        ("f(a, b);", "f(a, /* the\nsecond */ b);"),
        ("#define A 1\nint b;", "#define  A  1 // one\n\n\nint\nb;"),
        ("#define A (1 + 2)\n", "#define A \\\n  (1 + 2)\n"),
        ("x = a // b\n / c;", "x = a / c;"),
    ],
)
def test_format_and_comments_are_no_tokens(one: str, other: str) -> None:
    assert list(tokens(one + "\n")) == list(tokens(other + "\n"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a + +b", "a ++b"),
        ("a - -b", "a--b"),
        ("intb;", "int b;"),
        ("1.0f", "1.f"),
        ("1e-5", "1e - 5"),
        ('"a b"', '"a  b"'),
        ('"//"', '""'),
        ("' '", "'  '"),
        ("#define A\n(1)", "#define A (1)"),
        ("#if A\nb", "#if A b"),
        ('R"(a  // b)"', 'R"(a b)"'),
        ("a < b", "a <= b"),
        ("1'000", "1'001"),
    ],
)
def test_what_the_compiler_reads_otherwise_has_other_tokens(one: str, other: str) -> None:
    assert list(tokens(one + "\n")) != list(tokens(other + "\n"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_of_our_sources_is_lost(path: Path) -> None:
    """Without comments and spaces, the tokens are the text."""
    code = [line.partition("//")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    assert "".join("".join(tokens(path.read_text(encoding="utf-8"))).split()) == "".join("".join(code).split())
