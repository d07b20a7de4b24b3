# "make demo" to see it, "make docs" to read about it, "make check", "make quick" and "make test" to change it
# (CONTRIBUTING.md). Each sets up what it needs the first time and says what it does.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One worker for each core, at most eight: each takes up to 1.5 GB; one more made tests of processes slower, not the run
# faster. A module stays with one worker: its fixtures are costly.
PARALLEL := --numprocesses logical --maxprocesses 8 --dist loadscope --no-loadscope-reorder
QUICK := not (slow or simulation or processes or real_data or extended)

.PHONY: demo docs check style format types contracts quick test extended clean

demo: $(READY)
	@echo "Running the demo: a synthetic cohort, scored and reported (two to four minutes)"
	@$(BIN)/aspects demo demo
	@echo "Open demo/out/results/latest/report.html in a browser"

docs: $(READY)
	@echo "Building the documentation, from the program itself"
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site
	@echo "Open build/site/index.html in a browser; it needs no network"

check: $(READY)
	@echo "Checking style, types and import contracts, side by side"
	@$(MAKE) --no-print-directory --jobs 2 --output-sync --keep-going types contracts style format

types: $(READY)
	@$(BIN)/python -m mypy

contracts: $(READY)
	@$(BIN)/lint-imports

style: $(READY)
	@$(BIN)/python -m ruff check .

format: $(READY)
	@$(BIN)/python -m ruff format --check .

quick: $(READY)
	@echo "Running the quick tests: no simulated scan, no process, no real data"
	@$(BIN)/python -m pytest $(PARALLEL) -m "$(QUICK)"

test: $(READY)
	@echo "Running every check: style, types, import rules, tests"
	@$(BIN)/python -m pytest $(PARALLEL)

extended: $(READY)
	@echo "Running what plays many parts together: an afternoon, jobs of SLURM, trainings"
	@$(BIN)/python -m pytest $(PARALLEL) -m extended

# Pinned by name and version in requirements.lock; "pip check" proves that the pins fit together. Python's byte code is made
# by all cores afterwards (pip uses one); libraries' own templates that are no Python do not stop it.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 12) else f"Python 3.11 or 3.12 is needed, got {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (two to seven minutes, once; 2.4 GB with the CPU build of PyTorch, see README)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $(READY)

clean:
	rm -rf $(VENV) demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
