# make report: everything, from a fresh clone to runs/demo/report.html.
# make test: the tests, in at most 8 minutes on two cores.   make soak: those that take longer, in more than an hour.
# Paths are relative and quoted, so that a checkout in a folder with a space in its name works too.
PYTHON ?= python3
PY := .venv/bin/python
# One thread a process, as there is a process a core; modules are compiled once, not by each of the processes of the tests.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= $(PY) -m pytest

.PHONY: setup report test soak lab bench bench-long figures clean

setup: .venv/installed

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; 'make PYTHON=python3.12 ...' selects another one."; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --editable '.[dev]'
	@touch $@

report: .venv/installed
	$(PY) run.py demo

test: .venv/installed
	$(PY) -m ruff check .
	.venv/bin/lint-imports
	@$(PY) -m mypy & types=$$!; \
		$(PYTEST) --numprocesses auto --dist worksteal; tests=$$?; \
		wait $$types && exit $$tests

soak: .venv/installed
	$(PYTEST) -m soak --numprocesses auto --dist worksteal
	$(PYTEST) tests/soak --capture=no

lab: .venv/installed
	$(PY) -m inside.cli.lab

bench: .venv/installed
	$(PY) -m pip install --quiet --editable '.[dev,bench]'
	$(PY) benchmarks/table.py

bench-long: .venv/installed
	$(PY) benchmarks/scaling.py
	$(PY) benchmarks/memory.py
	$(PY) benchmarks/kept_features.py
	$(PY) benchmarks/processes.py
	$(PY) benchmarks/coverage.py
	$(PY) benchmarks/seeds.py

figures: .venv/installed
	$(PY) run.py demo --publish figures

clean:
	rm -rf runs .pytest_cache .ruff_cache .mypy_cache
