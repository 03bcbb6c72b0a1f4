"""Equal settings, equal text, equal digest."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text."""
    return _encode(value)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError for whatever is none, also where Python would exhaust its stack."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


SEAL = "sha256"  # the field of a record that holds the checksum of the others


def sealed(record: Mapping[str, Any]) -> str:
    """A record as the text of a JSON file that tells whether it is still what was written."""
    return json.dumps({**record, SEAL: _seal(record)}, indent=2, sort_keys=True) + "\n"


def unsealed(text: str | bytes) -> dict[str, Any]:
    """The record that a text of `sealed` holds. Raises ValueError for anything else.

    One without a seal, as earlier versions wrote them, is taken as it is.
    """
    record = parse_json(text)
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    seal = record.pop(SEAL, None)
    if seal is not None and seal != _seal(record):
        raise ValueError("its checksum does not match")
    return record


def _seal(record: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(record))  # whole keys are texts there
    return hashlib.sha256(canonical(plain).encode()).hexdigest()


def digest(value: Any) -> str:
    """Ten hexadecimal digits of the sha256 of the canonical JSON."""
    return digest_text(canonical(value))


def digest_text(text: str) -> str:
    """Ten hexadecimal digits of the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]
