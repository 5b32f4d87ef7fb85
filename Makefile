# Everything starts from `make`. What it installs stays inside this folder: .venv (the packages), .tools (uv, and a Python, if
# there is none), .lanes (for `make test-lanes`) and, only for `make web`, web/node_modules and serving/web/litert.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := setup
.DELETE_ON_ERROR:
.PHONY: setup demo web test test-long test-lanes test-runtimes unit lint bench composed lock clean help

UV_VERSION := 0.13.9
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .tools/uv/bin/uv)

# The lane (see docs/platforms.md): the one that was asked for, or that .venv is set up in, or that fits this machine.
LANES := tfx-1.21 tfx-1.16
CHOICE := UV='$(UV)' PYTHON='$(if $(filter command,$(origin PYTHON)),$(PYTHON))' .ci/lanes
VENV := .venv
ASKED := $(LANE)
PRESENT := $(patsubst $(VENV)/.synced-%,%,$(firstword $(wildcard $(VENV)/.synced-*)))
FITTING := $(if $(or $(ASKED),$(PRESENT)),,$(shell $(CHOICE) choose))
override LANE := $(or $(ASKED),$(PRESENT),$(firstword $(FITTING)))
REASON := $(or $(if $(ASKED),LANE=$(ASKED) was given),$(if $(PRESENT),$(VENV) is set up in it),$(filter-out $(LANE),$(FITTING)))
OTHER := $(filter-out $(LANE),$(LANES))
ifeq ($(filter $(LANE),$(LANES)),)
$(error Expected LANE to be one of $(LANES). Received: $(LANE))
endif
SYNCED := $(VENV)/.synced-$(LANE)

# The first Python of the lane that really runs: on PATH, from pyenv, from uv. `make PYTHON=...` names another.
FOUND_PYTHON = $(shell $(CHOICE) python $(LANE))

define NO_PYTHON
The lane $(LANE) needs Python $(PYTHONS). There is none on PATH, in pyenv or in uv, and uv could not bring one (the reason is
above). One of these brings it; then run make again:
    sudo apt install python$(PREFERRED)      where the distribution has it
    pyenv install $(PREFERRED)               with pyenv
    uv python install $(PREFERRED)           with uv
If it is somewhere else: make PYTHON=/path/to/python$(PREFERRED). The other lane: make LANE=$(OTHER)
endef
PYTHONS := $(if $(filter tfx-1.21,$(LANE)),3.11 to 3.13,3.10)
PREFERRED := $(if $(filter tfx-1.21,$(LANE)),3.12,3.10)
export NO_PYTHON

define NO_UV
Could not bring uv $(UV_VERSION) into .tools/uv (the reason is above). Python needs its venv module or pip, and the package index
must be reachable. Or install uv yourself, so that it is on PATH, and run make again.
endef
export NO_UV

# The public API, whose docstrings are numpydoc's; elsewhere a plain line and what surprises.
PUBLIC := schema/mel_spec.py $(addprefix components/,anomaly_gate.py export.py mobile_check.py pusher.py model_card/component.py) \
	$(addprefix components/ingest/,mel.py) \
	$(addprefix serving/classify/,classifier.py results.py) pipeline/train.py
LITERT := serving/web/litert
LOCK = $(UV) pip compile --quiet --generate-hashes --no-header --no-annotate

define NO_NPM
Running models in a browser needs LiteRT.js, which npm brings. There is no npm here that runs: install Node.js 18 or later
(Debian, Ubuntu: sudo apt install nodejs npm), then run make web again. All else works without it.
endef
export NO_NPM

setup: $(SYNCED) ## set up .venv in the lane that fits this machine; does nothing when nothing changed

demo: setup ## compose the demo library, run the pipeline on it, classify a song it never saw
	@$(VENV)/bin/tumbao demo

web: $(LITERT)/litert.js ## bundle LiteRT.js, for models in the browser; does nothing when nothing changed

test: setup ## run lint and tests side by side; says which tests were skipped, and why
	@$(MAKE) --no-print-directory -j2 lint unit

unit: setup # the tests alone, two files at a time
	$(VENV)/bin/python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder

test-long: setup ## run the large rounds of tests, which `make test` does in small
	$(VENV)/bin/python -m pytest -rs -m long

test-runtimes: setup ## build the wheel and test it on each Python from 3.10 that is here, in clean environments
	$(VENV)/bin/python -m pytest -rs -m long tests/test_runtimes.py

test-lanes: | $(UV) ## run lint and tests in the other lane: as root, in a Debian 13 of its own, if this glibc is older than 2.39
	@$(CHOICE) test $(OTHER)

lint: setup ## check style, format, types, docstrings, sizes and imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/numpydoc lint $(PUBLIC)
	$(VENV)/bin/python -m pytest -q tests/test_imports.py tests/test_sizes.py

bench: setup ## measure, in short: how long a cold start and ingest take
	$(VENV)/bin/python benchmarks/classify.py
	$(VENV)/bin/python benchmarks/ingest.py

composed: setup ## compose the songs that join the training of the model tumbao, after a change of composer or rhythm
	$(VENV)/bin/python -m tumbao.pipeline.composed_songs

lock: | $(UV) ## write the locks of both lanes from their .in, changing no more versions than needed
	$(LOCK) --universal --python-version 3.11 requirements-tfx-1.21.in -o requirements-tfx-1.21.lock
	$(LOCK) --python-version 3.10 requirements-tfx-1.16.in -o requirements-tfx-1.16.lock

clean: ## remove .venv, .tools, .lanes, LiteRT.js and the tools' caches; runs and libraries stay
	rm -rf .venv .tools .lanes web/node_modules $(LITERT) .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

$(LITERT)/litert.js: $(addprefix web/,.npmrc build.mjs package.json package-lock.json)
	@npm --version >/dev/null 2>&1 || { echo "$$NO_NPM" >&2; exit 1; }
	cd web && npm ci --no-audit --no-fund && npm run --silent build

$(SYNCED): requirements-$(LANE).lock setup.py | $(UV)
	@python="$(FOUND_PYTHON)"; echo "Lane $(LANE), with $${python:-a Python that uv brings}: $(REASON)."
	@python="$(or $(FOUND_PYTHON),$(PREFERRED))"; [[ "$$python" == */* ]] \
		|| UV_PYTHON_INSTALL_DIR=.tools/python $(UV) python install --no-bin "$$python" || { echo "$$NO_PYTHON" >&2; exit 1; }
	@python="$(FOUND_PYTHON)"; [[ -x "$(VENV)/bin/$${python##*/}" ]] && keep=--allow-existing || keep=--clear; \
		$(UV) venv --quiet $$keep --python "$$python" $(VENV)
	$(UV) pip sync --python $(VENV) --compile-bytecode --require-hashes requirements-$(LANE).lock
	$(UV) pip install --python $(VENV) --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.synced*; touch $@

.tools/uv/bin/uv:
	@rm -rf .tools/uv
	@python="$(or $(FOUND_PYTHON),python3)"; \
		{ "$$python" -m venv .tools/uv && .tools/uv/bin/python -m pip install --quiet uv==$(UV_VERSION); } \
		|| { rm -rf .tools/uv && "$$python" -m pip install --quiet --target .tools/uv uv==$(UV_VERSION); } \
		|| { echo "$$NO_UV" >&2; exit 1; }
