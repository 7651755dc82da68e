# `make quickstart` and `make test` work on a fresh machine with Python 3.9-3.11, pip, gcc and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export PYTHONUNBUFFERED := 1

.PHONY: install quickstart test lint clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -r requirements.txt -e ".[dev]"
	touch $@

quickstart: install
	$(BIN)/python tools/quickstart.py

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) output build *.egg-info
