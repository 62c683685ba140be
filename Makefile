# Needs Python >= 3.11 with pip, and no more: each target first creates the environment .venv and installs what it uses,
# once, and again when pyproject.toml changes. ARGS goes to the command: make run ARGS="objective=mae backbone=vit_tiny"

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test test-thorough test-all lint format hooks benchmark wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: .venv/.runtime ## pretrain, evaluate and report with the default config, or as ARGS says
	$(BIN)/ssl-run $(ARGS)

# A process more than there are cores, of a thread each: tests of processes that are stopped wait for them.
PROCESSES = $$($(BIN)/python -c 'import os; print(min(8, os.cpu_count() + 1))')
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal

test: .venv/.test ## the quick tests
	$(PYTEST) -m "not slow and not thorough" $(ARGS)

test-thorough: .venv/.test ## what the quick tests leave out and a change must pass: more cases of the same, and whole commands
	$(PYTEST) -m "thorough and not slow" $(ARGS)

test-all: .venv/.test ## all tests, with those that train for minutes; properties are tried on other cases each time
	$(PYTEST) --hypothesis-profile=random $(ARGS)

lint: .venv/.lint ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.lint ## put the code in the one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: .venv/.dev ## check each commit before it is made (.pre-commit-config.yaml)
	$(BIN)/pre-commit install

benchmark: .venv/.benchmark ## measure speed on this machine, when it is idle; ARGS: a topic (simclr, peers, text, words, objectives, precision, probe, startup, checkpoints, identity, sweep, growth, memory, video, gpu) and its options
	$(BIN)/python -m scripts.benchmarks $(or $(ARGS),startup)

wheel: $(BIN)/python ## build dist/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what tools left; keeps .venv and outputs
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find ssl_runner tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp stands for what is installed; each larger set includes the smaller ones, so their stamps are set as well.
.venv/.runtime: pyproject.toml | $(BIN)/python
	@echo "installing ssl_runner into .venv (once; PyTorch makes it some minutes)"
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.test: pyproject.toml | $(BIN)/python
	@echo "installing ssl_runner and what its tests need into .venv (once; PyTorch makes it some minutes)"
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch .venv/.runtime $@

.venv/.lint: pyproject.toml | $(BIN)/python
	@echo "installing ssl_runner and what its tests and checks need into .venv (once; PyTorch makes it some minutes)"
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	@touch .venv/.runtime .venv/.test $@

.venv/.dev: pyproject.toml | $(BIN)/python
	@echo "installing ssl_runner and what its developers need into .venv (once; PyTorch makes it some minutes)"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch .venv/.runtime .venv/.test .venv/.lint $@

.venv/.benchmark: pyproject.toml | $(BIN)/python
	@echo "installing ssl_runner and what it is measured against into .venv (once; PyTorch makes it some minutes)"
	$(BIN)/python -m pip install --quiet --editable '.[benchmark]'
	@touch .venv/.runtime $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found; name a Python >= 3.11: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("$(PYTHON) is Python %d.%d; ssl_runner needs 3.11 or newer: make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv .venv
