# Everything a developer says to this repository. Needs make and Python >= 3.10; each target sets up what it needs.
#
#   make test                      format, lint, types, import contracts, tests
#   make timelapse                 photos into a growing video, through freezes, a reset and a shutdown
#   make help                      all targets

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := $(wildcard warmstate examples benchmarks scripts tests conftest.py)
PYTEST_ARGS ?=

# The first interpreter that is new enough; `make PYTHON=python3.13 ...` chooses.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$python && break; done)

# What `make timelapse` takes, handed over only when set: PHOTOS=300 RATE=30 PHOTOS_FROM=folder
TIMELAPSE_OPTIONS = $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(RATE),--rate $(RATE)) $(if $(PHOTOS_FROM),--photos-from '$(PHOTOS_FROM)')

.PHONY: help
help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

.PHONY: setup
setup: $(READY) ## make .venv with everything the other targets use

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo 'make: found no Python >= 3.10 with venv; install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@echo 'Setting up $(VENV) (once; again when pyproject.toml or constraints.txt change) ...'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-build-isolation --editable '.[emulator,aws,timelapse]'
	@touch $@

.PHONY: test
test: check pytest ## format, lint, types, import contracts, then all quick tests

.PHONY: check
check: $(READY) ## format, lint, types, import contracts and the tables of docs/, without the tests
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q --no-header -k TestWhatTheCodeKnows tests/test_docs.py || { echo 'If a table is stale: make docs' >&2; exit 1; }

.PHONY: pytest
pytest: $(READY) ## the quick tests alone; PYTEST_ARGS='-k thaw' chooses
	$(BIN)/pytest $(PYTEST_ARGS)

.PHONY: soak
soak: $(READY) ## the tests that run for minutes
	$(BIN)/pytest -m soak $(PYTEST_ARGS)

.PHONY: format
format: $(READY) ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: timelapse
timelapse: $(READY) ## the main job; PHOTOS=300 RATE=30 PHOTOS_FROM=folder change it
	$(BIN)/python -m examples.timelapse $(TIMELAPSE_OPTIONS)

.PHONY: bench
bench: $(READY) ## against the peers: writes docs/benchmarks.md and the table of the README; RUNS=3, QUESTION=cold-start asks one
	$(BIN)/python -m benchmarks $(if $(RUNS),--runs $(RUNS)) $(QUESTION)

.PHONY: bench-timelapse
bench-timelapse: $(READY) ## what a photo costs as the video grows, against the stateless ways: writes both README.md; ROUNDS=3
	$(BIN)/python -m examples.timelapse.bench $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: counts
counts: $(READY) ## instructions of the hot and the cold path against the stored ones; ACCEPT='reason' stores them
	$(BIN)/python -m benchmarks counts $(if $(ACCEPT),--accept '$(ACCEPT)')

.PHONY: profile
profile: $(READY) ## what the time is spent on: the numbers that docs/performance.md explains
	$(BIN)/python -m benchmarks profile

.PHONY: docs
docs: $(READY) ## write the tables and the diagram of docs/ that only the code knows
	$(BIN)/python -m scripts.write_docs

# uv resolves for every Python at once; it lives in a place of its own and nothing else needs it.
.PHONY: constraints
constraints: $(READY) ## renew constraints.txt for every supported Python
	test -x .cache/uv/bin/uv || { $(PYTHON) -m venv .cache/uv && .cache/uv/bin/pip install --quiet uv; }
	{ head -n 1 constraints.txt; .cache/uv/bin/uv pip compile pyproject.toml --universal --all-extras --group dev --upgrade \
		--python-version 3.10 --system-certs --no-header --no-annotate --quiet; } > .cache/constraints.txt
	mv .cache/constraints.txt constraints.txt

.PHONY: clean
clean: ## remove what make made
	rm -rf $(VENV) .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
