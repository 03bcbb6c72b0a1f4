"""C and C++ by their tokens: what formatting and comments leave alone (ISO C++17, [lex.phases] and [lex.pptoken])."""

import re
from collections.abc import Iterator

_COMMENT = r"//(?:\\\n|[^\n])*|/\*.*?\*/"
_RAW = r'(?:u8|[uUL])?R"(?P<fence>[^()\s\\]*)\(.*?\)(?P=fence)"'
_QUOTED = r"""(?:u8|[uUL])?(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+')"""
_NUMBER = r"\.?\d(?:[eEpP][-+]|'?\w|\.)*"
_PUNCTUATION = r"<<=|>>=|\.\.\.|->\*|##|::|\.\*|\+\+|--|->|<<|>>|[-<>=!+*/%&|^]=|&&|\|\||\S"
_TOKEN = re.compile(
    rf"(?P<space>{_COMMENT}|\\\n|[^\S\n]+)|(?P<end>\n)|(?P<token>{_RAW}|{_QUOTED}|{_NUMBER}|\w+|{_PUNCTUATION})",
    re.DOTALL,
)


def tokens(text: str) -> Iterator[str]:
    """The tokens of a source file; a newline only where it ends a directive of the preprocessor."""
    directive, first = False, True  # first: nothing stands on this line yet
    for match in _TOKEN.finditer(text):
        if match["end"]:
            if directive:
                yield "\n"
            directive, first = False, True
        elif match["token"]:
            directive = directive or (first and match["token"] == "#")
            first = False
            yield match["token"]
