"""Ask `jax_sweep.py`, in JAX's own environment, for one timed run after another."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
VARIABLE = "MUSTER_JAX_PYTHON"


def interpreter() -> Path | None:
    """$MUSTER_JAX_PYTHON, or the environment that `make bench` builds; None where neither is there."""
    path = Path(os.environ.get(VARIABLE) or ROOT / ".venv-jax" / "bin" / "python")
    return path if path.exists() else None


class Jax:
    """A running contender. name: with JAX's version."""

    def __init__(self, python: Path):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name("jax_sweep.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.name = f"{self._answer()} jit(vmap(scan))"

    def prepare(self, **case: object) -> None:
        """Compile a case; what was compiled before is dropped."""
        self._send(json.dumps(case))
        self._answer()

    def seconds(self) -> list[float]:
        """CPU seconds a member and step: stacked, and one member after another."""
        self._send("run")
        return self._answer()

    def _send(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self):
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())
