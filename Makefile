# make demo | make test | make lint: each works on a machine that has only Python >= 3.10, pip and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint

demo: .venv/core
	$(BIN)/pre2post demo

test: .venv/dev
	$(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/core: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install -e .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install -e '.[dev,eval]'
	touch $@
