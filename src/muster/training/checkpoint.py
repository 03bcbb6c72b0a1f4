"""Checkpoints: atomic writes, safe reads, and refusal of what belongs to another cell or another engine."""

import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, owner: str, state: dict[str, Any]) -> None:
    """Write a temporary file and rename it: a reader sees the old or the new checkpoint, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    torch.save({"owner": owner, "state": state}, temporary)
    os.replace(temporary, path)


def load(path: Path, owner: str) -> dict[str, Any] | None:
    """The saved state, or None where there is none, it is damaged, or another cell or code version wrote it."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as damage:  # any unreadable file means the same: start again
        print(f"{path}: checkpoint is unreadable ({type(damage).__name__}), starting the stack from step 0")
        return None
    return content["state"] if content.get("owner") == owner else None
