# make demo: answer a real question with a local model.   make test: run the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUESTION ?= How many days lie between 14 July 1789 and 20 July 1969?

.PHONY: demo native test test-fast lint types check lock screenshots clean

demo: $(VENV)/.demo
	$(BIN)/python -m graph "$(QUESTION)" --tools python

# llama.cpp compiled for this machine's processor: wheels do without what not every processor has, such as AVX-512.
# It serves this process alone, so it needs no TLS. Undone by: .venv/bin/pip install --force-reinstall --no-deps xllamacpp
native: $(VENV)/.demo
	@command -v cmake >/dev/null && command -v c++ >/dev/null || { echo "A compiler and CMake are needed (Debian: apt-get install build-essential cmake)." >&2; exit 1; }
	@echo "Compiling llama.cpp; this takes about 7 minutes on two cores."
	CMAKE_ARGS="-DLLAMA_BUILD_BORINGSSL=OFF -DLLAMA_LLGUIDANCE=OFF" $(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --force-reinstall --no-binary xllamacpp xllamacpp

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# All but what is marked slow: ends within two minutes on two cores with nothing else at work.
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: test lint types

# uv.lock holds the versions of constraints.txt. vLLM pins others, so it comes second and gets versions of its own.
lock:
	@command -v uv >/dev/null || { echo "There is no uv: pip install uv" >&2; exit 1; }
	@rm -rf .lock && mkdir .lock && cp README.md LICENSE .lock/ && sed '/^vllm = /d; /^conflicts = /d' pyproject.toml >.lock/pyproject.toml
	uv lock --project .lock $$(sed -n 's/^\([A-Za-z0-9_.-]*\)==\(.*\)$$/--upgrade-package \1==\2/p' constraints.txt)
	@cp .lock/uv.lock uv.lock && rm -rf .lock
	uv lock

# The pictures of README: a toy training and two evaluations, then a headless browser (Debian: chromium chromium-driver).
screenshots: $(VENV)/.dev
	$(BIN)/python -m tests.evals.view.pictures --out docs

# Debian and Ubuntu leave ensurepip out of python3; there pip, if it is installed, sets up the environment's own.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer, or set it with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set it with: make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) >$(VENV).log 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; } >>$(VENV).log 2>&1 || { \
	  cat $(VENV).log >&2; rm -rf $(VENV) $(VENV).log; \
	  echo "The environment $(VENV) could not be made: install Python's venv (on Debian or Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@rm -f $(VENV).log

# The stamps are made anew when what they depend on changes. torch comes first and alone, so that nothing else chooses its build.
$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[embedded]"
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[embedded,mcp,train,dev]"
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .langgraph_api
