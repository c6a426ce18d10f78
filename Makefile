# The developer commands; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: help install demo test test-long coverage bench lint lock

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

# The environment is made once, and again when the lock or the package's metadata changes.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python $(PYTHON): must be 3.11 or newer (make PYTHON=python3.12)")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@

install: $(READY) ## Make the environment .venv from the lock file
	@echo "the environment is ready; to use it:  . .venv/bin/activate"

demo: $(READY) ## Predict a Landsat scene and a folder of mixed formats, and draw the water
	$(BIN)/python examples/fetch_inputs.py
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores all --configfile examples/great_salt_lake/config.yaml
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores all --configfile examples/mixed_formats/config.yaml
	$(BIN)/python examples/great_salt_lake/draw.py
	@$(BIN)/python examples/show.py results/great_salt_lake results/mixed_formats

test: $(READY) ## Run the tests but for those that take minutes each
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m "not long"

test-long: $(READY) ## Run the tests that take minutes each: a Slurm cluster, dozens of kills
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m long

# Tests of whole runs are left out: what only they reach has no test that tells what is wrong.
RUNS := workflow cluster hostile browser test_benchmarks.py test_examples.py

coverage: $(READY) ## Tell which lines and branches of the library the tests of its modules do not reach
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --cov $(addprefix --ignore=tests/,$(RUNS))

bench: $(READY) ## Measure reading and models beside peers and limits, reruns beside a bare workflow, and Slurm jobs
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/model.py
	$(BIN)/python benchmarks/workflow.py
	$(BIN)/python benchmarks/cluster.py

lint: $(READY) ## Check the style of all code, and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --lint

lock: $(READY) ## Pin the newest versions of all dependencies
	$(BIN)/uv pip compile pyproject.toml $(addprefix --extra ,slides gis dev) --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --upgrade --no-header --quiet --output-file requirements.lock
	$(BIN)/python envs/pin.py
