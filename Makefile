# make course | test | check | lab | notebooks | instructor | site: each one installs .venv first, if that has not been done.

# The lock was made with 3.11; the first newer Python does as well.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
SITE := .venv/.site-installed

.DEFAULT_GOAL := help
.PHONY: help course test check lab notebooks instructor site

help:
	@echo "make course     run every notebook headless and write build/report.html"
	@echo "make test       run the fast tests"
	@echo "make check      lint, look for stale notebooks, run the fast tests"
	@echo "make lab        open JupyterLab on the notebooks"
	@echo "make notebooks  execute notebooks/src and store notebooks/*.ipynb"
	@echo "make site       build the site of the course in build/site, and check it"
	@echo "make instructor build the notebooks with solutions and notes in build/instructor"

$(STAMP): requirements.lock pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "course: no Python 3.11 or newer was found; install one, or run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Making .venv with $(PYTHON)"; \
		$(PYTHON) -m venv --clear .venv; }
	@echo "Installing requirements.lock into .venv (some minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

course: $(STAMP)
	@$(BIN)/course run

# one process a core with one thread each: for such small models that is faster than one process with all cores
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses=4 --dist=worksteal

test: $(STAMP)
	@$(TEST)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/course build --check
	@$(TEST)

lab: $(STAMP)
	@$(BIN)/course lab

notebooks: $(STAMP)
	@$(BIN)/course build

instructor: $(STAMP)
	@$(BIN)/course build --instructor

# held to the lock, so that the site's packages replace none of the course's
$(SITE): $(STAMP)
	@echo "Installing what the site is built with into .venv"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-build-isolation -c requirements.lock -e '.[site]'
	@touch $@

site: $(SITE)
	@$(BIN)/python -m tools.site.build
