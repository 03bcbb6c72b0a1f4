"""Checkpoints: atomic writes, safe reads, and refusal of what belongs to another cell or another engine."""

import hashlib
import mmap
from pathlib import Path
from typing import Any, BinaryIO

import torch

from muster.files import write_atomically

SEAL = hashlib.sha256().digest_size  # bytes at the end: the sha256 of all before them, since torch checks none


def save(path: Path, owner: str, state: dict[str, Any]) -> None:
    """Write the state of a stack, atomically. Raises MusterError if it cannot be written; the old one then stands."""

    def write(temporary: Path) -> None:
        with temporary.open("w+b") as file:
            torch.save({"owner": owner, "state": state}, file)
            file.seek(0)
            file.write(hashlib.file_digest(file, "sha256").digest())

    write_atomically(path, write)


def load(path: Path, owner: str) -> dict[str, Any] | None:
    """The saved state, or None where there is none, it is damaged, or another cell or code version wrote it."""
    try:
        with path.open("rb") as file:
            _check(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as damage:  # any unreadable file means the same: start again
        print(f"{path}: checkpoint is unreadable ({damage}), starting the stack from step 0")
        return None
    return content["state"] if content.get("owner") == owner else None


def _check(file: BinaryIO) -> None:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        with memoryview(content) as view, view[:-SEAL] as body:
            found = hashlib.sha256(body).digest()
        if found != content[-SEAL:]:
            raise ValueError("its checksum does not match")
