# Everything starts from `make`. What it installs stays inside this folder: .venv (the packages), .tools (uv, if there is none),
# and, only for `make web`, web/node_modules and serving/web/litert.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := setup
.DELETE_ON_ERROR:
.PHONY: setup demo web test test-long test-runtimes unit lint bench composed lock clean help

UV_VERSION := 0.13.9
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .tools/uv/bin/uv)

# The first Python 3.10 that really runs: on PATH, from pyenv, from uv. `make PYTHON=...` names another.
PYTHON = $(shell \
	for python in python3.10 python3 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.10*/bin/python \
		"$$("$(UV)" python find --no-project 3.10 2>/dev/null)"; do \
		"$$python" -c 'import sys; sys.version_info[:2] == (3, 10) and print(sys.base_prefix + "/bin/python3.10")' 2>/dev/null || true; \
	done | head -n 1)

define NO_PYTHON
Tumbao needs Python 3.10. There is none on PATH, in pyenv or in uv. One of these brings it; then run make again:
    sudo apt install python3.10      where the distribution has it (Ubuntu 22.04)
    pyenv install 3.10               with pyenv
    uv python install 3.10           with uv
If it is somewhere else: make PYTHON=/path/to/python3.10
endef
export NO_PYTHON

define NO_UV
Could not bring uv $(UV_VERSION) into .tools/uv (the reason is above). Python needs its venv module or pip, and the package index
must be reachable. Or install uv yourself, so that it is on PATH, and run make again.
endef
export NO_UV

# The public API, whose docstrings are numpydoc's; elsewhere a plain line and what surprises.
PUBLIC := schema/mel_spec.py $(addprefix components/,anomaly_gate.py export.py mobile_check.py pusher.py model_card/component.py) \
	$(addprefix components/ingest/,mel.py) \
	$(addprefix serving/classify/,classifier.py results.py) pipeline/train.py \
	trainer/training.py
LITERT := serving/web/litert

define NO_NPM
Running models in a browser needs LiteRT.js, which npm brings. There is no npm here that runs: install Node.js 18 or later
(Debian, Ubuntu: sudo apt install nodejs npm), then run make web again. All else works without it.
endef
export NO_NPM

setup: .venv/.synced ## set up .venv from requirements.lock; does nothing when nothing changed

demo: setup ## compose the demo library, run the pipeline on it, classify a song it never saw
	@.venv/bin/tumbao demo

web: $(LITERT)/litert.js ## bundle LiteRT.js, for models in the browser; does nothing when nothing changed

test: setup ## run lint and tests side by side; says which tests were skipped, and why
	@$(MAKE) --no-print-directory -j2 lint unit

unit: setup # the tests alone, two files at a time
	.venv/bin/python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder

test-long: setup ## run the large rounds of tests, which `make test` does in small
	.venv/bin/python -m pytest -rs -m long

test-runtimes: setup ## build the wheel and test it on each Python from 3.10 that is here, in clean environments
	.venv/bin/python -m pytest -rs -m long tests/test_runtimes.py

lint: setup ## check style, format, types, docstrings, sizes and imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/numpydoc lint $(PUBLIC)
	.venv/bin/python -m pytest -q tests/test_imports.py tests/test_sizes.py

bench: setup ## measure, in short: how long a cold start and ingest take
	.venv/bin/python benchmarks/classify_cold_start.py
	.venv/bin/python benchmarks/ingest.py --quick

composed: setup ## compose the songs that join the training of the model tumbao, after a change of composer or rhythm
	.venv/bin/python -m tumbao.pipeline.composed_songs

lock: | $(UV) ## write requirements.lock from requirements.in, changing no more versions than needed
	$(UV) pip compile --quiet --python-version 3.10 --generate-hashes --no-header --no-annotate requirements.in -o requirements.lock

clean: ## remove .venv, .tools, LiteRT.js and the tools' caches; runs and libraries stay
	rm -rf .venv .tools web/node_modules $(LITERT) .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

$(LITERT)/litert.js: $(addprefix web/,.npmrc build.mjs package.json package-lock.json)
	@npm --version >/dev/null 2>&1 || { echo "$$NO_NPM" >&2; exit 1; }
	cd web && npm ci --no-audit --no-fund && npm run --silent build

define REQUIRE_PYTHON
@[[ -n "$(PYTHON)" ]] || { echo "$$NO_PYTHON" >&2; exit 1; }
endef

.venv/.synced: requirements.lock setup.py | $(UV)
	$(REQUIRE_PYTHON)
	$(UV) venv --quiet --allow-existing --python "$(PYTHON)" .venv
	$(UV) pip sync --python .venv --compile-bytecode --require-hashes requirements.lock
	$(UV) pip install --python .venv --no-deps --no-build-isolation -e .
	@touch $@

.tools/uv/bin/uv:
	$(REQUIRE_PYTHON)
	@rm -rf .tools/uv
	@{ "$(PYTHON)" -m venv .tools/uv && .tools/uv/bin/python -m pip install --quiet uv==$(UV_VERSION); } \
		|| { rm -rf .tools/uv && "$(PYTHON)" -m pip install --quiet --target .tools/uv uv==$(UV_VERSION); } \
		|| { echo "$$NO_UV" >&2; exit 1; }
