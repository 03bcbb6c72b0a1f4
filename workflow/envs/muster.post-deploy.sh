#!/bin/sh
# Snakemake copies this file away from its checkout, which the Snakefile names.
make --directory "${MUSTER_CHECKOUT:?is named by the Snakefile}" packages PIP="python -m pip install --quiet" ${TORCH:+TORCH="$TORCH"}
