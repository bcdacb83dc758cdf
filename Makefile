PYTHON ?= python3
BIN := .venv/bin
SECONDS ?= 300
# Tests wait for servers, leases and time-outs more than they compute.
WORKERS ?= $(shell expr 2 \* `nproc 2>/dev/null || echo 2`)
SOURCES := hsorm hsorm_pytest.py alembic examples tests benchmarks scripts
# Each worker and each command line that the tests start would compile everything for itself.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup format lint types test test-fast docs servers servers-stop demo example migration fuzz soak bench bench-filters bench-live bench-history bench-redis bench-geo check clean

help:  ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: .venv/.ready  ## Make .venv with hsorm and the development tools in it

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hsorm needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	@touch $@

format: setup  ## Format the code
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lint: setup  ## Check format, lint and the layers' imports
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/lint-imports

types: setup  ## Check types, strictly
	$(BIN)/mypy

test: setup servers lint types  ## Everything: lint, types, all tests against real servers
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

test-fast: setup  ## The tests that need no server
	HSORM_TEST_NO_SERVERS=1 $(BIN)/pytest -n auto --dist loadgroup -m "not wheel"

docs: setup  ## Build the documentation into site/; a warning is an error (the tests build it, too)
	$(BIN)/properdocs build -f mkdocs.yml

# 3 means that a server is missing, which the tests say in their summary (and refuse under CI).
servers:  ## Start PostgreSQL + TimescaleDB, plain PostgreSQL, Redis Stack and a Redis Cluster for the tests
	@$(PYTHON) scripts/servers.py start || [ $$? -eq 3 ]

servers-stop:  ## Stop the servers that `make servers` started
	@$(PYTHON) scripts/servers.py stop

demo: setup  ## Generate a building with 30 days of history and look around in it
	$(BIN)/hsorm demo

example: setup  ## Run the example application: http://127.0.0.1:8000/docs
	cd examples/fastapi_app && ../../$(BIN)/python -m devices_app

migration: setup  ## Write a new migration: make migration m="what it does"
	$(BIN)/alembic revision --autogenerate -m "$(m)"

fuzz: setup servers  ## Look for filters that backends answer differently: make fuzz SECONDS=600
	HSORM_FUZZ_SECONDS=$(SECONDS) $(BIN)/pytest tests/differential

soak: setup  ## Kill writers, watchers and servers, and prove that nothing is lost: make soak SECONDS=300
	$(BIN)/python -m benchmarks.soak --seconds $(SECONDS)

bench: setup servers  ## Measure load and filters, and print tables of docs/benchmarks.md
	$(BIN)/python -m benchmarks.spine

bench-filters: setup servers  ## Measure every shape of filter at 100,000 and 1,000,000 entities
	$(BIN)/python -m benchmarks.filters

bench-live: setup servers  ## Measure commits, live tags, watches, points and the change feed
	$(BIN)/python -m benchmarks.live

bench-history: setup servers  ## Measure history beside COPY, SQL and ADBC by hand
	$(BIN)/python -m benchmarks.history

bench-redis: setup servers  ## Measure Redis beside redis-py by hand and beside haystack-py
	$(BIN)/python -m benchmarks.redis

bench-geo: setup servers  ## Measure where entities are, with PostGIS and without
	$(BIN)/python -m benchmarks.geo

check: lint types test-fast  ## What to run before a commit

clean:  ## Remove what was made here: environment, caches, builds
	rm -rf .venv dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
