"""Papers that two studies cite under different slugs: their claims would be two families, each corrected alone."""

import re
from collections.abc import Iterable, Iterator

from muster.config.models import StudyConfig

# arXiv's identifiers since 2007 and before, also within an address or a DOI of arXiv; then all other DOIs.
_ARXIV = re.compile(
    r"\barxiv(?:\.org/(?:abs|pdf)/|[:.\s]\s*)(?P<id>\d{4}\.\d{4,5}|[a-z-]+(?:\.[a-z]{2})?/\d{7})", re.IGNORECASE
)
_DOI = re.compile(r"\b(?P<id>10\.\d{4,9}/[^\s;,\"'<>]+)")
_TITLE = re.compile(r"\b(?:19|20)\d\d[a-z]?\b[,:.)]*\s+(?P<title>.+)")
FEWEST_WORDS = 4  # of a title that is looked for in another text: shorter ones are parts of many


def other_families(study: StudyConfig, known: Iterable[StudyConfig]) -> Iterator[str]:
    """Says of every other study that cites a paper of this one under another slug that the two are apart."""
    for other in known:
        if other.slug != study.slug and (shared := shared_paper(study.paper, other.paper)):
            yield (
                f"{shared} is cited by study {other.study}, too, whose slug is {other.slug}: claims of one slug are "
                f"decided as one family (docs/verdicts.md), those of {study.slug} apart from them. "
                f"For one family, write slug: {other.slug}"
            )


def shared_paper(one: str, other: str) -> str:
    """An identifier, or else a title, that two texts `Authors, year, title` have in common; empty without any."""
    if identifiers := [each for each in _identifiers(one) if each in _identifiers(other)]:
        return identifiers[0]
    for text, elsewhere in ((one, other), (other, one)):
        for title in _titles(text):
            if f" {_words(title)} " in f" {_words(elsewhere)} ":
                return f'"{title}"'
    return ""


def _identifiers(text: str) -> list[str]:
    arxiv = [f"arXiv:{found['id'].lower()}" for found in _ARXIV.finditer(text)]
    return arxiv + [f"doi:{found['id'].lower().rstrip('.)')}" for found in _DOI.finditer(_ARXIV.sub(" ", text))]


def _titles(text: str) -> Iterator[str]:
    """The titles in a text: what follows a year, up to the next paper."""
    for part in text.split(";"):
        found = _TITLE.search(_DOI.sub("", _ARXIV.sub("", part)))
        if found and len(_words(found["title"]).split()) >= FEWEST_WORDS:
            yield found["title"].strip(" ,.()")


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
