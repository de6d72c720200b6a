PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/.installed

.PHONY: help demo test lint bench bench-gpu clean

help:  ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

demo: $(INSTALLED)  ## Train, intervene, report: the whole library once; DEMO="…" passes arguments on
	$(VENV)/bin/ppl-disentangle demo $(DEMO)

test: $(INSTALLED)  ## Run the tests and every example in a docstring, a process a core
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile

lint: $(INSTALLED)  ## Check format, style, types, packed code and English
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m tests.lint.code
	$(VENV)/bin/python -m tests.lint.english

bench: $(INSTALLED)  ## Measure the speed of training and metrics, an hour; write docs/performance.md
	$(VENV)/bin/python -m benchmarks --write

bench-gpu: $(INSTALLED)  ## Measure the speed of training on a GPU
	$(VENV)/bin/python -m benchmarks.gpu

clean:  ## Remove .venv, builds and caches
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("ppl-disentangle needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "Installing into $(VENV); the first time this takes a few minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
