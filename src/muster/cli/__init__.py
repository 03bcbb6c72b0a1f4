"""The command line: a parser, and one module for each group of commands."""
