"""The command line: a parser, and one module for each group of commands.

Most calls are jobs that hand their command to the warm server: what is imported before that, every job waits for.
"""

import signal
import sys
from collections.abc import Sequence

from muster.system import UNSUPPORTED

if UNSUPPORTED:
    sys.exit(UNSUPPORTED)

from muster.jobs.warm import forward


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, without argv that of this process. A mistake the user can mend becomes one line on stderr and
    exit status 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        status = forward(words) if argv is None else None
        return _run(words) if status is None else status
    except KeyboardInterrupt:
        if argv is not None:
            raise
        print(f"muster {' '.join(words[:1])}: interrupted", file=sys.stderr, flush=True)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # so that who called sees what ended it
        signal.raise_signal(signal.SIGINT)
        raise


def _run(words: list[str]) -> int:
    from muster.cli.parser import run_command

    return run_command(words)
