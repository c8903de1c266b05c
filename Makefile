# The one door to the project. Needs a Rust toolchain, Python >= 3.11 and make; the rest is
# installed into a virtual environment in this folder.
#
#   PYTHON=...   interpreter to use (default: the newest of python3.13 to python3.11, python3)
#   VENV=...     virtual environment (default: .venv, or .venv-3.X when PYTHON is given)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

ifdef PYTHON
python-version := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
$(if $(python-version),,$(error PYTHON=$(PYTHON) does not run))
VENV ?= .venv-$(python-version)
else
VENV ?= .venv
endif

PROFILE ?= release
APP ?= examples/tour.py
ARGS ?=
FUZZ ?= 100000
SEED ?= 0
PYTHONS ?= 3.11 3.12 3.13 3.14 3.15
JOBS ?= 2

python := "$(VENV)/bin/python"
pip := $(python) -m pip --disable-pip-version-check --quiet
target := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# PyO3 recompiles whenever the interpreter changes, so each one has a target folder of its own.
tag = $$($(python) -c 'import sys; print(sys.implementation.cache_tag.replace("cpython-", "cp") + getattr(sys, "abiflags", ""))')
extras = $(python) -c 'import sys, tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]], sep="\n")'
rust-sources := $(wildcard Cargo.toml Cargo.lock pyproject.toml) \
	$(shell find crates -path '*/tests' -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print 2>/dev/null)

# An activated environment must not leak into the build of ours.
unexport PYTHONHOME CONDA_PREFIX
export VIRTUAL_ENV := $(abspath $(VENV))
ifneq ($(words $(CURDIR)),1)  # make's abspath cannot carry spaces
export VIRTUAL_ENV := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))
endif

.PHONY: help build run test test-all test-rust test-python fuzz test-faults test-collector test-ecosystem lint conformance \
	bench bench-full bench-collector instructions loom docs wheel test-wheel clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  PYTHON=python3.12 picks an interpreter, VENV=folder an environment"

# Prints the first interpreter that really runs (a pyenv shim may only complain), with venv in it.
define find-python
for candidate in python3.13 python3.12 python3.11 python3; do \
	if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo "$$candidate"; break; fi; done
endef

$(VENV)/.made:
	@chosen="$(PYTHON)"; [ -n "$$chosen" ] || chosen=$$($(find-python)); \
	[ -n "$$chosen" ] || { echo "No Python >= 3.11 with the venv module found; try PYTHON=/path/to/python" >&2; exit 1; }; \
	echo "Making $(VENV) with $$("$$chosen" -V)"; \
	[ -x $(python) ] || "$$chosen" -m venv "$(VENV)"
	@$(pip) install 'maturin>=1.8,<2'
	@touch "$@"

# The environment must hold the interpreter that was asked for.
.PHONY: environment
environment: $(VENV)/.made
ifdef PYTHON
	@have=$$($(python) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	[ "$$have" = "$(python-version)" ] || { \
	echo "$(VENV) holds Python $$have and PYTHON is $(python-version): give another VENV, or remove it" >&2; exit 1; }
endif

$(VENV)/.built-$(PROFILE): $(VENV)/.made $(rust-sources) | environment
	@command -v cargo >/dev/null || { echo "Rust is needed: https://rustup.rs" >&2; exit 1; }
	@echo "Building the extension ($(PROFILE)) for $$($(python) -V)"
	@PIP_QUIET=1 CARGO_TARGET_DIR="$(target)/$(tag)" \
		$(python) -m maturin develop --quiet --profile $(PROFILE)
	@rm -f "$(VENV)"/.built-*
	@touch "$@"

$(VENV)/.extra-%: $(VENV)/.made pyproject.toml | environment
	@$(extras) $* | $(pip) install -r /dev/stdin
	@touch "$@"

build: $(VENV)/.built-$(PROFILE) ## build the extension into .venv (PROFILE=quick compiles faster)
	@:

run: build ## run the tour, or APP=program.py ARGS="..." on rulip
	@$(python) -m rulip "$(APP)" $(ARGS)

test: test-rust test-python ## all tests but the conformance suite and the faults

test-rust: ## the engine's tests and the house rules
	CARGO_TARGET_DIR="$(target)" cargo test --quiet --workspace --exclude rulip-py

# What the documentation's code blocks use (servers, test plug-ins, a notebook's kernel) stays out of
# the project's environment: plug-ins would load themselves into its tests.
pages := $(VENV)-docs
$(pages)/.made: $(VENV)/.made tests/docs/requirements.txt | environment
	@$(python) -m venv "$(pages)"
	@"$(pages)/bin/python" -m pip --disable-pip-version-check --quiet install -r tests/docs/requirements.txt
	@touch "$@"

test-python: build $(VENV)/.extra-test $(pages)/.made ## the Python tests, on asyncio and on rulip (ARGS="-k name")
	RULIP_DOCS_PYTHON="$${VIRTUAL_ENV}-docs/bin/python" $(python) -m pytest --quiet --ignore=tests/faults $(ARGS)

fuzz: build ## generated programs, on asyncio and on rulip (FUZZ=1000000 programs from SEED=0 on)
	@$(python) -m tests.differential.streams --count "$$(( $(FUZZ) / 100 ))" --seed "$(SEED)"
	@$(python) -m tests.differential.volume --count "$(FUZZ)" --seed "$(SEED)" $(ARGS)

test-faults: build $(VENV)/.extra-test ## tests that inject faults (need strace, some need root)
	$(python) -m pytest --quiet tests/faults $(ARGS)

# The log collector's drivers and servers are its own: they stay out of the project's environment.
collector := $(VENV)-collector
$(collector)/.made: $(VENV)/.made apps/logcollector/pyproject.toml | environment
	@$(python) -m venv "$(collector)"
	@"$(collector)/bin/python" -m pip --disable-pip-version-check --quiet install \
		-e 'apps/logcollector[postgres,mysql,nats,watch,test,bench]'
	@echo "$(CURDIR)/python" > "$$("$(collector)/bin/python" -c \
		'import sysconfig; print(sysconfig.get_path("purelib"))')/rulip.pth"
	@touch "$@"

test-collector: build $(collector)/.made ## the log collector, with real servers and a browser
	cd apps/logcollector && "$${VIRTUAL_ENV}-collector/bin/python" -m pytest --quiet $(ARGS)
	cd apps/logcollector && "$${VIRTUAL_ENV}-collector/bin/python" -m ruff check . && \
		"$${VIRTUAL_ENV}-collector/bin/python" -m ruff format --check . && \
		"$${VIRTUAL_ENV}-collector/bin/python" -m mypy src tests bench

lint: build $(VENV)/.extra-test ## formatting, clippy, ruff, mypy
	cargo fmt --all --check
	CARGO_TARGET_DIR="$(target)/lint" PYO3_PYTHON="$$VIRTUAL_ENV/bin/python" \
		cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy --strict python/rulip
	$(python) -m mypy --strict examples

test-all: ## the Python tests on each interpreter (PYTHONS="3.12 python3.14 /path/to/python")
	@chosen="$(PYTHON)"; [ -n "$$chosen" ] || chosen=$$($(find-python)); \
	"$${chosen:-python3}" tests/cpython/matrix.py --suite $(PYTHONS)

conformance: ## CPython's own asyncio tests, without and with install() (PYTHONS="3.11 3.14", JOBS=2)
	@chosen="$(PYTHON)"; [ -n "$$chosen" ] || chosen=$$($(find-python)); \
	"$${chosen:-python3}" tests/cpython/matrix.py --jobs $(JOBS) $(PYTHONS)

test-ecosystem: build ## other projects' own tests, and smoke tests (SUITES="aiohttp uvicorn")
	$(python) tests/ecosystem/run.py $(SUITES) $(ARGS)

bench: build $(VENV)/.extra-bench ## compare with asyncio, uvloop and rloop (ARGS="--quick")
	$(python) bench/run.py $(ARGS)

bench-full: build $(VENV)/.extra-bench ## the same with growth to 10,000 connections and a million tasks, and applications (an hour)
	$(python) bench/run.py --full $(ARGS)

instructions: ## hold the hot paths against their instruction budget (needs valgrind)
	@$(MAKE) build VENV="$(VENV)" PROFILE=release
	$(python) bench/budget.py $(ARGS)

bench-collector: build $(collector)/.made ## the log collector beside rsyslog, on three loops
	"$${VIRTUAL_ENV}-collector/bin/python" apps/logcollector/bench/compare.py $(ARGS)

loom: ## model-check the cross-thread code
	CARGO_TARGET_DIR="$(target)/loom" RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 \
		cargo test --quiet -p rulip-engine --lib --release

docs: $(VENV)/.extra-docs ## the documentation, as pages in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --quiet --strict
	@echo "Made build/site/index.html"

wheel: $(VENV)/.made | environment ## the wheel for this Python and the source distribution, in dist/
	@command -v cargo >/dev/null || { echo "Rust is needed: https://rustup.rs" >&2; exit 1; }
	@rm -rf dist
	@CARGO_TARGET_DIR="$(target)/$(tag)" \
		$(python) -m maturin build --quiet --release --interpreter $(python) --out dist
	@$(python) -m maturin sdist --out dist
	@ls -1 dist

test-wheel: wheel ## install what make wheel built in throw-away environments, use it, uninstall it
	@CARGO_TARGET_DIR="$(target)/$(tag)" $(python) tests/packaging/newcomer.py dist

clean: ## remove everything that was built, environments included
	rm -rf target build dist .venv .venv-3.* .venv-collector .venv-docs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f python/rulip/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
