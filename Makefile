# Words for everyday work. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE_CODE := walkthroughs/_site

# Two OpenMP threads make tiny models much slower than one; nothing is downloaded; rich prints as wide as a page.
QUIET_ENV := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
KERNEL_ENV := $(QUIET_ENV) JUPYTER_COLUMNS=80 PYDEVD_DISABLE_FILE_VALIDATION=1
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help trace test check lint types unit lessons notebooks docs serve browser golden bench

help: ## show these words
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

trace: $(VENV)/.installed ## set up what is missing, then trace CogVideoX
	@$(BIN)/trace-shapes cogvideox

test: check unit lessons docs browser ## everything that CI runs

check: lint types ## style and types

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python $(SITE_CODE)/notebooks.py --check

types: $(VENV)/.installed-dev
	$(BIN)/mypy

unit: $(VENV)/.installed-dev ## the tests that need no browser
	$(QUIET_ENV) $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not browser" tests

lessons: $(VENV)/.installed-dev ## run the notebooks and compare every output
	$(KERNEL_ENV) $(BIN)/python -m pytest --nbval --nbval-current-env \
	  --nbval-sanitize-with $(SITE_CODE)/nbval.cfg -n 2 --dist loadfile walkthroughs

notebooks: $(VENV)/.installed-dev ## run the notebooks and write their outputs anew
	$(BIN)/python $(SITE_CODE)/notebooks.py

# Not --quiet: it hides warnings from --strict too.
docs: $(VENV)/.installed-dev ## build the site into site/
	$(QUIET_ENV) $(MKDOCS) build --strict

serve: $(VENV)/.installed-dev ## show the site on this machine, and again after every change
	$(QUIET_ENV) $(MKDOCS) serve

browser: $(VENV)/.installed-dev $(SITE_CODE)/node_modules/.installed ## look at every page in Chromium
	$(QUIET_ENV) $(BIN)/python -m pytest -n 2 --dist loadgroup -m browser tests

golden: $(VENV)/.installed-dev ## bless what the tests see now; read the diff before you commit it
	$(QUIET_ENV) $(BIN)/python -m pytest -m "not browser" --bless tests

bench: $(VENV)/.installed-dev ## measure what recording, answers, probes and the site cost
	$(QUIET_ENV) $(BIN)/python -m benchmarks

# Set-up runs again only when what it reads has changed. pip talks on stderr: `make -s trace > file` holds the answer.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install -c constraints.txt -e . >&2
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install -c constraints.txt -e ".[dev]" >&2
	@touch $(VENV)/.installed $@

$(SITE_CODE)/node_modules/.installed: $(SITE_CODE)/package.json $(SITE_CODE)/package-lock.json
	cd $(SITE_CODE) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@
