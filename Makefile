# Copyright (c) srdensenet_mm authors. Licensed under Apache-2.0.

# The folder of the environment, which is built if it is missing.
VENV ?= .venv
# Arguments for pytest or the demo: make test ARGS='-k colour -x'
ARGS ?=

PY := $(VENV)/bin/python
.DEFAULT_GOAL := help
.PHONY: help env test lint demo clean

help: ## this list
	@echo 'make TARGET [NAME=VALUE ...]'
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10 | sed 's/^/    /'
	@echo 'VENV=path       the environment, by default .venv'
	@echo "ARGS='...'      arguments for the demo or for pytest: make demo ARGS='--iters 40'"
	@echo 'PYTHON=path     the Python of a new environment, 3.10 to 3.12'
	@echo 'MMCV_OPS=1      mmcv with its compiled ops; MAX_JOBS=n compilers at a time'

env: ## build the environment, or finish or renew it
	@PYTHON='$(PYTHON)' MMCV_OPS='$(MMCV_OPS)' requirements/make_env.sh '$(VENV)'

test: lint ## ruff, then the tests on all cores; ARGS go to pytest
	$(PY) -m pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

lint: env ## ruff alone
	$(PY) -m ruff check .

demo: env ## train a small SRDenseNet, score it on Set5, draw the figure
	$(PY) tools/demo.py $(ARGS)

clean: ## remove caches and build folders; the environment and the results stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find srdensenet_mm tools studies tests configs -name __pycache__ -type d -prune -exec rm -rf {} +
