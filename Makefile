# Two commands for a newcomer: `make demo` and `make test`. `make help` lists the rest.
# Needs Python 3.11 or later, make and a C compiler; everything else comes into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests wait more than they compute; a file's tests stay together.
WORKERS ?= 2
CODE := services shared berth tests hatch_build.py
SHELL := bash

.PHONY: demo test test-long chaos fuzz simulate soak bench page lint format generate wheel clean help
.DEFAULT_GOAL := help

demo: $(READY) ## run the main job: a StatefulSet's pods get VPC addresses, and get them back
	$(BIN)/berth demo $(MANIFEST)

test: lint ## everything that must be green before a change lands (minutes)
	$(BIN)/pytest -m "not long" --numprocesses $(WORKERS) --dist loadfile --durations=10

test-long: $(READY) ## the tests that take longer: repeated demos, kills, an ordinary user
	.ci/packages
	$(BIN)/pytest -m long --durations=10

chaos: $(READY) ## workloads under faults; SEED=, WORKLOAD=, NEMESIS= choose
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) \
		$(addprefix --workload ,$(WORKLOAD)) $(addprefix --nemesis ,$(NEMESIS))

fuzz: $(READY) ## spoiled input for socket, plugin and its JSON, SECONDS (60) each
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

simulate: $(READY) ## worlds on virtual time, seeds FIRST (1) to LAST (1000), or the trace of SEED
	@$(BIN)/python -m tests.simulation $(or $(SEED),$(or $(FIRST),1) $(or $(LAST),1000))

soak: $(READY) ## what grows under a steady load of MINUTES (30); samples into build/soak; SEED=
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

bench: $(READY) ## every figure, into docs/benchmarks.md; FIGURE=<name> measures one
	@$(BIN)/python -m tests.bench $(FIGURE)

page: $(READY) ## docs/benchmarks.md and its charts from the stored figures; TAKE=<file> adds some
	@$(BIN)/python -m tests.bench.page $(if $(TAKE),--take $(TAKE))

lint: $(READY) ## style, types, layering, stale generated files
	$(BIN)/ruff format --check --quiet $(CODE)
	$(BIN)/ruff check --quiet $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m berth.generate --check

format: $(READY) ## rewrite the code in the house style
	$(BIN)/ruff check --fix --quiet $(CODE)
	$(BIN)/ruff format --quiet $(CODE)

generate: $(READY) ## write docs/asyncapi.json from the messages, the custom resources into deploy/
	$(BIN)/python -m berth.generate

wheel: $(READY) ## build the wheel, with the compiled CNI plugin, into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## remove what was built and installed here
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(READY): requirements/dev.txt pyproject.toml hatch_build.py services/node_agent/cni/berth_cni.c
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)
