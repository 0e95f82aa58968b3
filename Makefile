# The two commands for newcomers are `make demo` and `make test`; both set up everything themselves.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo test stress check format docs clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/' | expand -t 16

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gte-pg needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed  ## start a Postgres, make this machine's Python documentation searchable, ask it a question
	$(BIN)/gte-pg demo $(if $(QUERY),"$(QUERY)")

test: $(VENV)/.installed  ## run the tests on a real Postgres
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

stress: $(VENV)/.installed  ## let applications, workers and trouble loose on a Postgres, and check every vector; then the longest tests
	$(BIN)/python -m tests.stress $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))
	$(BIN)/python -m pytest -m long

check: $(VENV)/.installed  ## format, lint, types, layers, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	for folder in benchmarks/*/; do MYPYPATH=$$folder $(BIN)/mypy $$folder || exit 1; done
	$(BIN)/lint-imports
	$(MAKE) test

format: $(VENV)/.installed  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed  ## build the documentation as a static site, build/site
	$(BIN)/mkdocs build --quiet

clean:  ## remove what the other commands made here
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
