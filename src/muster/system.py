"""Where muster runs."""

import sys

UNSUPPORTED = (
    "muster runs on Linux and should run on macOS, not on Windows itself. Run it there in WSL: "
    "https://learn.microsoft.com/windows/wsl"
    if sys.platform == "win32"
    else ""
)  # what to say where it cannot run: its locks, signals and file flags are those of POSIX
