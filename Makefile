# Everything here works on a fresh clone: the first target that needs .venv makes it.
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --progress-bar off --disable-pip-version-check -c constraints.txt

PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
EDITABLE := $(addprefix -e ,core $(PLUGINS))
STAMP := .venv/.installed

.PHONY: help venv demo examples test lint types docs pages unit floors campaigns bench release version clean

help:
	@echo "make demo   train on the digits and leave pictures in runs/digits"
	@echo "make examples  known training scripts, written with Treadle, and how many lines they have"
	@echo "make test   all that CI runs: lint, types, docs, unit (each also a target of its own)"
	@echo "make pages  the docs' tables, written anew from the declarations"
	@echo "make campaigns  every line interrupted, every saved point resumed; make test runs a part"
	@echo "make floors  the tests of core and plugins, and the demo, with the lowest versions of all libraries"
	@echo "make bench  the time and memory budgets, as a table"
	@echo "make release  all distributions in dist: built, checked, tried, and the changes; nothing is uploaded"
	@echo "make version NEW=0.2.0  another version for all distributions"
	@echo "make clean  remove .venv, caches and what was built"

venv: $(STAMP)

# torch comes first and alone, at its exact version: no range of another package gets to choose a build of it.
# The distributions are then built by the tools in .venv; a build environment of their own would fetch those again.
$(STAMP): pyproject.toml constraints.txt core/pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PIP) torch hatchling editables
	$(PIP) --no-build-isolation $(EDITABLE) -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(PY) -c "from treadle_cli import main; main()" demo

examples: $(STAMP)
	$(PY) docs/examples

test: lint types docs unit

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(STAMP)
	$(PY) -m mypy
	$(PY) -m mypy --python-version 3.12
	$(PY) -m mypy --python-version 3.13
	$(PY) -m mypy --platform win32 core/src/treadle/system.py
	$(PY) -m mypy --platform darwin core/src/treadle/system.py

docs: $(STAMP)
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html

# The parts of the docs that are written from docstrings and from the callbacks' declarations.
pages: $(STAMP)
	$(PY) docs/generate.py
	$(PY) docs/notebook.py

# Two workers, a file whole to one of them: the blocks of a page and the fixtures of a module belong together.
# Hypothesis draws the same cases each time: a change fails by what it changes. `pytest` alone draws new ones.
unit: $(STAMP)
	$(PY) -m pytest -q -n 2 --dist loadfile --hypothesis-profile=ci

# Not part of `make test`: an environment of its own and all those tests once more would double its time.
# Run it where a requirement changes, and before a release.
# Of each Python its own: `make floors PYTHON=python3.13`.
FLOORS := .venv-floors-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
FLOORS_PIP := $(subst .venv/,$(FLOORS)/,$(PIP)) -c floors.txt

floors: $(FLOORS)/.installed
	$(FLOORS)/bin/python -m pytest -q -n 2 --dist loadfile core plugins
	cd $(FLOORS) && bin/treadle demo

# Without extras first: pip does not see that a folder it is to install with one satisfies a requirement without.
$(FLOORS)/.installed: floors.txt constraints.txt core/pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))
	test -x $(FLOORS)/bin/python || $(PYTHON) -m venv $(FLOORS)
	$(FLOORS_PIP) torch hatchling editables
	$(FLOORS_PIP) hypothesis pytest pytest-xdist sybil
	$(FLOORS_PIP) --no-build-isolation $(EDITABLE)
	$(FLOORS_PIP) --no-build-isolation $(foreach folder,core $(PLUGINS),-e '$(folder)[test]')
	$(FLOORS_PIP) --no-build-isolation -e 'plugins/treadle-cli[demo]'
	touch $@

campaigns: $(STAMP)
	$(PY) tests/campaigns/interrupts.py
	$(PY) tests/campaigns/resumes.py

bench: $(STAMP)
	$(PY) tests/benchmarks/run.py

# Nothing is uploaded, and nothing is fetched.
release: $(STAMP)
	$(PY) -m release

version: $(STAMP)
	$(PY) -m release.version $(NEW)
	rm $(STAMP)  # what is installed still says the version before

clean:
	rm -rf .venv .venv-floors* dist .hypothesis .mypy_cache .pytest_cache .ruff_cache docs/_build runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
