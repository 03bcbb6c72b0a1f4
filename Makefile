# reproduce: from an empty machine to ledger, figures and report. replay: the published run again from its tables.
# test: everything CI runs. The rest: see `make help`.
# Needs Python 3.11 or later and make. Choose another interpreter with `make PYTHON=python3.12 ...`.

PYTHON ?= python3
STUDY ?=
FIGURE ?=
STUDIES ?= core
CORES ?= all
# Tests at once: some wait for a cluster's daemons, so one more than there are cores. In the order of their files, of which
# these come first: left to xdist they would come last, for they are few, and end alone.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
VENV ?= .venv
# A build of torch for CPUs alone: make TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu" ...
TORCH ?= $(shell sed -n 's/^ *"\(torch==[^"]*\)",/\1/p' pyproject.toml)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help packages reproduce replay figure smoke report publish track test tidy bare cluster drill mutants lint docs image bench readme lock clean sanitize

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "muster needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V 2>&1). Install one, or: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make environments. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# Into the environment that PIP installs into: `snakemake --sdm conda` has one of its own.
packages:
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) $(TORCH)
	$(PIP) --no-deps --editable .

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/.python
	@$(MAKE) --no-print-directory packages
	touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(PIP) --require-hashes -r requirements-dev.lock
	touch $@

# Beside the environment, not in it: Snakemake imports every plugin that it finds, which takes longer than a small run.
$(VENV)/.cluster: requirements-cluster.lock $(VENV)/.dev
	rm -rf $(VENV)/cluster
	$(PIP) --require-hashes --no-deps --target $(VENV)/cluster -r requirements-cluster.lock
	touch $@

cluster: $(VENV)/.cluster ## Snakemake's plugins for the tests with Slurm and Kubernetes

reproduce: $(VENV)/.runtime ## train, fit and judge a dozen studies of every kind; all of them: make reproduce STUDIES=all
	@$(BIN)/muster plan $(STUDIES)
	$(BIN)/snakemake --cores $(CORES) all report --config 'studies=[$(STUDIES)]'
	@echo
	@echo "ledger   results/laptop/ledger/LEDGER.md (and claims.csv, claims.json)"
	@echo "figures  results/laptop/figures/"
	@echo "report   results/laptop/report.html"

REPLAY := --config mode=replay results=results/replay
replay: $(VENV)/.runtime ## fits, figures and ledger again from the published tables, in results/replay; trains nothing
	$(BIN)/dvc pull --quiet
	@$(BIN)/muster restore --results results/replay >/dev/null
	$(BIN)/snakemake --cores $(CORES) ledger figures $(REPLAY)
	@$(BIN)/python workflow/scripts/replayed.py results/replay/ledger
	@echo "ledger   results/replay/ledger/LEDGER.md; figures in results/replay/figures"

figure: $(VENV)/.runtime ## one figure again from the published tables: make figure STUDY=relu-kurtosis FIGURE=kurtosis
	@test -n "$(STUDY)" -a -n "$(FIGURE)" || { echo "Give STUDY and FIGURE: make figure STUDY=relu-kurtosis FIGURE=kurtosis" >&2; exit 1; }
	@test -e results/published/tables/$(STUDY).dvc || { echo "No table of $(STUDY) is published. Its figures need a run: muster run $(STUDY)."\
	  "Published: $$(cd results/published/tables && ls *.dvc | sed 's/.dvc$$//' | paste -sd' ')" >&2; exit 1; }
	$(BIN)/dvc pull --quiet results/published/tables/$(STUDY).dvc
	@$(BIN)/muster restore $(STUDY) --results results/replay >/dev/null
	$(BIN)/snakemake --cores $(CORES) results/replay/figures/$(STUDY)/$(FIGURE).svg $(REPLAY) 'studies=[$(STUDY)]'
	@echo "figure   results/replay/figures/$(STUDY)/$(FIGURE).svg"

smoke: $(VENV)/.runtime ## the whole flow at scale smoke, in results/smoke
	$(BIN)/snakemake --cores $(CORES) all report --config scale=smoke

report: $(VENV)/.runtime ## the HTML report of what has been run; it runs nothing
	$(BIN)/muster report

publish: $(VENV)/.runtime ## results/published from complete runs: make publish [STUDY="one two"], shows what changes, asks
	$(BIN)/muster publish $(STUDY)

track: $(VENV)/.runtime ## put published tables under DVC; prints how to pass them on
	$(BIN)/muster track

lint: $(VENV)/.dev ## format, lint, types, layers and the image's file (`snakemake --lint` is among the workflow tests)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/clang-format --dry-run --Werror src/muster/native/*/*.h src/muster/native/*/*.cpp
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

# Beside the environment: it takes 150 MB, and a compiler's headers, which nothing else needs.
$(VENV)/.tidy: | $(VENV)/.python
	$(PIP) --target $(VENV)/tidy clang-tidy==23.1.4
	touch $@

tidy: $(VENV)/.tidy ## clang-tidy over the native kernels; needs a C++ compiler's headers
	PYTHONPATH=$(VENV)/tidy $(VENV)/tidy/bin/clang-tidy --quiet src/muster/native/*/*.cpp -- -std=c++17 -march=cooperlake

docs: $(VENV)/.dev ## the documentation's site in docs/_build; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

test: lint ## what CI runs: lint, all tests, the smoke flow with its report in a temporary folder
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  $(BIN)/snakemake --cores $(CORES) all report --config scale=smoke results="$$folder" && \
	  test -s "$$folder/ledger/LEDGER.md" && test -s "$$folder/report.html"

DEVICE ?= cpu
image: ## a container of this checkout, where there is docker; for GPUs: make image DEVICE=cuda
	docker build --tag muster-$(DEVICE) --build-arg DEVICE=$(DEVICE) .
	docker run --rm muster-$(DEVICE) muster run relu-kurtosis --scale smoke

bare: ## the tests of a machine without a network and Debian's data sets
	.ci/bare

SANITIZERS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined
sanitize: $(VENV)/.dev ## the native kernels under the address and undefined-behaviour sanitizers
	@for dtype in float32 bfloat16; do \
	  library=$$($(BIN)/python -c 'import sys; from muster.native import build; print(build.build((build.CPU, *sys.argv[2:]), sys.argv[1]))' \
	    $$dtype $(SANITIZERS)) || { test $$dtype = bfloat16 && continue; exit 1; }; \
	  preload=; for name in asan ubsan stdc++; do preload="$$preload $$($${CXX:-c++} -print-file-name=lib$$name.so)"; done; \
	  LD_PRELOAD="$$preload" ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 $(BIN)/python -m muster.native.check "$$library" $$dtype; \
	done

drill: $(VENV)/.dev ## inject faults into small runs; writes docs/reliability.md (many minutes)
	$(BIN)/python -m tests.drills

# cosmic-ray, pytest-cov and what they need, beside the environment, whose packages they see: only this target has a use
# for them.
$(VENV)-mutants/.ready: | $(VENV)/.python
	$(PYTHON) -m venv $(VENV)-mutants
	$(VENV)-mutants/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint <(grep -o '^[^ ]*==[^ ;]*' requirements-dev.lock) cosmic-ray==8.7.0 pytest-cov==7.0.0 coverage==7.11.0
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	  "$$($(VENV)-mutants/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/muster.pth"
	touch $@

COUNT ?= 200
MINUTES ?= 60
mutants: $(VENV)/.dev $(VENV)-mutants/.ready ## slips at random, and whether a test notices: COUNT=200 MINUTES=60 ONLY=fitting/laws SEED=0
	OMP_NUM_THREADS=1 nice $(VENV)-mutants/bin/python tests/mutants --count $(COUNT) --minutes $(MINUTES) --seed $(or $(SEED),0) --only "$(ONLY)"

# JAX, which the benchmarks compare with and nothing else needs, beside the environment.
$(VENV)-jax/.ready: | $(VENV)/.python
	$(PYTHON) -m venv $(VENV)-jax
	$(VENV)-jax/bin/python -m pip install --quiet --disable-pip-version-check jax==0.10.2 optax==0.2.8
	touch $@

bench: $(VENV)/.dev $(VENV)-jax/.ready ## engine and fits against plain implementations, in benchmarks/results
	@pin=$$(command -v taskset > /dev/null && echo "taskset -c 0" || true); \
	for file in engine transformer; do OMP_NUM_THREADS=1 MUSTER_JAX_PYTHON=$(VENV)-jax/bin/python $$pin $(BIN)/python "benchmarks/$$file.py"; done
	@for file in dag fits precision; do echo "$$file"; OMP_NUM_THREADS=1 $(BIN)/python "benchmarks/$$file.py"; done

readme: ## fill README's tables from the ledger and the benchmarks
	$(PYTHON) workflow/scripts/readme.py

# One resolution for every Python and system. torch and what only its builds for CUDA need are left to torch's own line:
# which build is right depends on the machine, and the hashes of all builds are not those of one index.
UNLOCKED := $(addprefix --no-emit-package ,torch triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas \
  nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand \
  nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx)
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11.0 --generate-hashes --strip-extras \
  --no-annotate --no-header $(UNLOCKED) pyproject.toml
TESTED := $(addprefix --extra ,dev mlflow optuna tensorboard)
LOCKED = $(shell sed -n 's/^\([^ =]*\)==.*/--no-emit-package \1/p' requirements.lock)
lock: $(VENV)/.dev ## resolve the dependencies of pyproject.toml anew, with hashes
	$(PIP) uv
	$(COMPILE) --upgrade --output-file requirements.lock
	sed -i "s/^# requirements.lock .*/# requirements.lock $$(sha256sum requirements.lock | cut -d' ' -f1)/" workflow/envs/muster.yaml
	$(COMPILE) $(TESTED) --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) --extra cluster --constraint requirements.lock $(LOCKED) --output-file requirements-cluster.lock

clean: ## remove the environment and Snakemake's state; results stay
	rm -rf $(VENV) $(VENV)-jax .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis build
