"""Pure functions of numbers: no tables, no files, nothing of ours above."""
