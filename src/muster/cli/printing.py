"""Tables, options and examples as commands print them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel


def print_table(rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns, the last one free."""
    print("\n".join(aligned(rows)) or "none")


def aligned(rows: Iterable[Sequence[object]]) -> list[str]:
    """A line a row, its columns below those of the others, the last one free."""
    texts = [[str(part) for part in row] for row in rows]
    if not texts:
        return []
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    widths[-1] = 0
    return ["  ".join(part.ljust(width) for part, width in zip(row, widths, strict=True)).rstrip() for row in texts]


def print_options(title: str, options: type[BaseModel]) -> None:
    """The fields of a model, with what they are if left open."""
    print(f"\n{title}")
    fields = options.model_fields.items()
    print_table([("", name, _default(field), field.description or "") for name, field in fields])


def print_example(example: dict[str, Any], comment: str = "") -> None:
    """A part of a study as YAML, ready to be copied."""
    import yaml

    print("\nin a study")
    if comment:
        print(f"  # {comment}")
    text = yaml.safe_dump(example, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    print("  " + text.rstrip().replace("\n", "\n  "))


def _default(option: Any) -> str:
    """What an option is where a study leaves it open; blank if its description says what absence means."""
    if option.is_required():
        return "required"
    value = option.get_default(call_default_factory=True)
    return "" if value is None else f"default {json.dumps(value)}"
