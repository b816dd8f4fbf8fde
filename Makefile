# make demo | test | check | test-slow | docs: each makes what it needs; a second call installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# ONNX Runtime, OpenMP and TensorFlow spin while they wait: one thread each where tests run side by side.
TEST_ENV := OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3

.PHONY: demo demo-tf test test-slow check docs format lock clean

demo: $(VENV)/installed
	$(BIN)/marginface demo --backend torch

demo-tf: $(VENV)/installed
	$(BIN)/marginface demo --backend tf

test: $(VENV)/installed
	$(TEST_ENV) $(BIN)/pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(VENV)/installed
	$(TEST_ENV) $(BIN)/pytest -m slow

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs
	$(MAKE) test

# The documentation as a site, in site/: any warning is an error.
docs: $(VENV)/installed
	$(BIN)/python docs/assemble.py build/docs
	$(BIN)/zensical build --strict

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The exact versions that everything is tested with, from the ranges in pyproject.toml.
lock: $(VENV)/installed
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "marginface needs Python 3.11 or newer, $(PYTHON) is %d.%d; name another: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) build dist site
