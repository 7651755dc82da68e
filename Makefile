# `make quickstart`, `make test` and `make test-serving` work on a fresh machine with Python 3.9-3.11, pip, gcc and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Paddle Serving's; not within $(VENV), see deploy/paddleserving/setup_env.sh.
SERVING_ENV ?= .venv_serving
export OMP_NUM_THREADS ?= 1
export PYTHONUNBUFFERED := 1

.PHONY: install quickstart test serving-env test-serving lint clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -r requirements.txt -e ".[dev]"
	touch $@

quickstart: install
	$(BIN)/python tools/quickstart.py

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

serving-env: $(SERVING_ENV)/.installed

$(SERVING_ENV)/.installed: deploy/paddleserving/requirements.txt deploy/paddleserving/setup_env.sh
	PYTHON=$(PYTHON) deploy/paddleserving/setup_env.sh $(SERVING_ENV)
	touch $@

test-serving: install serving-env
	PPCLS_SERVING_ENV=$(SERVING_ENV) $(BIN)/python -m pytest tests/serving/test_paddle_serving.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(SERVING_ENV) output build *.egg-info
