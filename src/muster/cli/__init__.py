"""The command line: a parser, and one module for each group of commands."""

from muster.cli.parser import main

__all__ = ["main"]
