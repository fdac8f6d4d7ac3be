# make install | make demo | make docs | make test | make test-lowest | make lint | make bench: each works on a machine that has only Python >= 3.10, pip and make.
PYTHON ?= python3
BIN := .venv/bin
PRE2POST_REAL ?= real

.PHONY: install demo docs test test-lowest lint bench

install: .venv/eval
	@echo 'Installed. Next: . .venv/bin/activate && pre2post doctor'

demo: .venv/core
	$(BIN)/pre2post demo

docs: .venv/docs # out/site/index.html; a dead link is an error
	$(BIN)/python -m sphinx -W --keep-going -c docs -d out/doctrees . out/site

test: .venv/dev # two files at a time, a thread each: more threads wait for each other
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-lowest: .venv-lowest/dev # the same tests with the lowest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python -m benchmarks.speed.train_step --work out/bench --configs $(PRE2POST_REAL)/base_configs/stable-diffusion-2-1
	$(BIN)/python -m benchmarks.speed.sampling --work out/bench --configs $(PRE2POST_REAL)/base_configs/stable-diffusion-2-1
	$(BIN)/python -m benchmarks.speed.processes --work out/bench/processes
	$(BIN)/python -m benchmarks.resume.two_nodes --work out/bench/two_nodes
	test -d out/bench/sim12 || $(BIN)/pre2post simulate --out out/bench/sim12 --scenes 12 --seed 11
	$(BIN)/python -m benchmarks.speed.build_speed --release $(PRE2POST_REAL)/xbd --work out/bench/build --scenes 31
	$(BIN)/python -m benchmarks.speed.evaluate_speed --release out/bench/sim12 --work out/bench/evaluate
	$(BIN)/python -m benchmarks.speed.scene_speed --work out/bench

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/core: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install -e .
	touch $@

.venv/eval: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install -e '.[eval]'
	touch $@ .venv/core

.venv/dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install -e '.[dev,docs,eval,app]'
	touch $@

.venv/docs: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install -e '.[docs]'
	touch $@

.venv-lowest/dev: pyproject.toml
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install uv
	.venv-lowest/bin/uv pip install --python .venv-lowest/bin/python --resolution lowest-direct -e '.[dev,docs,eval,app]'
	touch $@
