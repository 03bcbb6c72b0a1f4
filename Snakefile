"""muster, where Snakemake looks first: the workflow of workflow/Snakefile.

An included file cannot set the default target, so `all`, which is the default there, is taken over under another name.
"""


include: "workflow/Snakefile"


use rule all as everything
