"""What the subcommands of `muster` do; `muster.cli` only parses. Each function takes the parsed arguments."""
