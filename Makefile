# The developer commands; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What makes .venv. A .venv that works keeps its interpreter unless another is named: make PYTHON=python3.13 install
PYTHON ?= $(shell .venv/bin/python -c 'import pip; print(".venv/bin/python")' 2>/dev/null || echo python3)
BIN := .venv/bin
ACTIVE := PATH="$(CURDIR)/$(BIN):$$PATH"
# Packages of elsewhere would come before those of .venv.
unexport PYTHONPATH PYTHONHOME

.PHONY: help environment dev-environment install torch demo test test-long test-oldest test-newest coverage bench lint \
	dist container lock

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

# Both look at the lock files each time, and do nothing if .venv is as they say.
environment:
	@$(PYTHON) envs/install.py

dev-environment:
	@$(PYTHON) envs/install.py dev

install: environment ## Make the environment .venv from the lock file
	@echo "the environment is ready; to use it:  . .venv/bin/activate"

torch: environment ## Add PyTorch to .venv, in the build that your package index has for this machine
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement envs/torch.txt

demo: environment ## Predict a Landsat scene and a folder of mixed formats, and draw the water
	$(BIN)/python examples/fetch_inputs.py
	$(ACTIVE) snakemake --cores all --configfile examples/great_salt_lake/config.yaml
	$(ACTIVE) snakemake --cores all --configfile examples/mixed_formats/config.yaml
	$(BIN)/python examples/great_salt_lake/draw.py
	@$(BIN)/python examples/show.py results/great_salt_lake results/mixed_formats

test: dev-environment ## Run the tests, except those that take minutes each
	$(ACTIVE) $(BIN)/python -m pytest -m "not long"

test-long: dev-environment ## Run the tests that take minutes each: installations, a Slurm cluster, dozens of kills
	$(ACTIVE) $(BIN)/python -m pytest -m long

test-oldest: ## Run the tests of make test with the oldest versions that pyproject.toml allows
test-oldest: RESOLUTION := lowest-direct
test-oldest: INTERPRETER := 3.11

test-newest: ## Run the tests of make test with the newest versions that pyproject.toml allows
test-newest: RESOLUTION := highest
test-newest: INTERPRETER := $(PYTHON)

# What a run needs is resolved first and alone: what only tests need must not raise its versions.
test-oldest test-newest: test-%: dev-environment
	$(BIN)/uv venv --quiet --clear --seed --python $(INTERPRETER) .venv-$*
	$(BIN)/uv pip compile --quiet --python .venv-$*/bin/python --resolution $(RESOLUTION) --extra slides --extra gis \
		--output-file .venv-$*/run.txt pyproject.toml
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python setuptools cffi pycparser
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --no-build-isolation --requirement .venv-$*/run.txt --editable ".[dev]"
	PATH="$(CURDIR)/.venv-$*/bin:$$PATH" .venv-$*/bin/python -m pytest -m "not long"

# Tests of whole runs are left out: what only they reach has no test that tells what is wrong.
RUNS := workflow cluster hostile browser installation test_benchmarks.py test_examples.py

coverage: dev-environment ## Show which lines and branches of the library the tests of its modules do not reach
	$(ACTIVE) $(BIN)/python -m pytest --cov $(addprefix --ignore=tests/,$(RUNS))

bench: dev-environment ## Measure reading and models beside peers and limits, reruns beside a bare workflow, and Slurm jobs
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/model.py
	$(BIN)/python benchmarks/workflow.py
	$(BIN)/python benchmarks/cluster.py

lint: dev-environment ## Check the style and types of all code, the workflow, and the workflows of CI
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/python tests/wording.py
	$(BIN)/snakefmt --check Snakefile workflow
	$(ACTIVE) $(BIN)/snakemake --lint
	$(BIN)/actionlint -shellcheck= -pyflakes=

dist: dev-environment ## Build the source distribution and the wheel, and check them
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

# Another program with the same commands, such as podman, can take its place. BASE is an image with Python that takes
# the place of the Dockerfile's.
DOCKER ?= docker
BASE ?=

container: ## Build the container image, and predict the images of the first run in it
	$(DOCKER) build $(if $(BASE),--build-arg BASE=$(BASE)) --tag quadrat .
	study=$$(mktemp -d); trap 'rm -rf "$$study"' EXIT; \
	echo "images: /opt/quadrat/examples/first_run/images" > "$$study/my.yaml"; \
	$(DOCKER) run --rm --user "$$(id -u):$$(id -g)" --volume "$$study:/study" --workdir /study quadrat \
		--cores 2 --configfile my.yaml; \
	test -s "$$study/results/predictions.parquet"

lock: dev-environment ## Pin the newest versions of all dependencies
	$(BIN)/python envs/lock.py
