# Everything a user or a developer does here. Needs Python 3.11 or newer with pip, and make; nothing else.
.DEFAULT_GOAL := help
.PHONY: help up test test-long lint format bench docs lock clean node-environment .venv
SHELL := /bin/sh
# Relative on purpose: the path to this directory may hold spaces.
RUN := .venv/bin/python -m
NAME ?= overhead
# Compiled once, not at every start.
unexport PYTHONDONTWRITEBYTECODE
ARGS ?=

help: ## show this
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

up: node-environment ## start the node on this machine; Ctrl-C stops it (DEMO=1 sends it rows to look at)
	@exec $(RUN) chainstrata up $(if $(filter 1,$(DEMO)),--node-demo true) $(ARGS)

test: .venv ## run the tests (ARGS="-k pools" to choose)
	@$(RUN) pytest $(ARGS)

test-long: .venv ## run the tests that take minutes
	@$(RUN) pytest -m long $(ARGS)

lint: .venv ## check style, types and layers, as CI does
	$(RUN) ruff check
	$(RUN) ruff format --check --quiet
	$(RUN) mypy
	$(RUN) basedpyright
	.venv/bin/python .venv/bin/lint-imports --no-logo

format: .venv ## let ruff mend what it can
	$(RUN) ruff check --fix
	$(RUN) ruff format

bench: .venv ## run a benchmark (NAME=overhead ARGS=--quick; ARGS=--list names them)
	@$(RUN) bench $(if $(filter --list,$(ARGS)),,$(NAME)) $(ARGS)

docs: .venv ## write what follows from declarations: packs' rows.py, the pages of docs/reference
	@$(RUN) tools.rows
	@$(RUN) tools.docs

lock: ## resolve the locks anew (ARGS=--upgrade for newer versions)
	@python3 tools/lock.py $(ARGS)

clean: ## remove the environment and caches; the node's data stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Both are quick when the environment fits already; tools/setup.py decides, not file times.
.venv: ## make the environment for development, nothing more
	@sh tools/setup.sh dev

node-environment:
	@sh tools/setup.sh node
