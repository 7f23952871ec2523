# make demo       render a cohort and run everything on it
# make demo-multi the same with three animals in each video
# make openfield  the same on DeepLabCut's real open-field mouse
# make test       the tests
# make check      static checks: style, types, layers, workflow
# make lock       constraints.txt: the pinned versions, for every platform
# make documents  config/README.md and the schema, from the settings' own descriptions
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
CORES ?= $(shell nproc)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo demo-multi openfield test check documents lock install

install: $(BIN)/.installed

# The constraints pin what the figures in the README were measured with.
$(BIN)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	cohortpose demo demo
	snakemake --cores $(CORES) --directory demo --configfile demo/config.yaml
	cohortpose demo-error demo

demo-multi: install
	cohortpose demo demo-multi --individuals 3 --videos 5 --labelled-frames 80
	snakemake --cores $(CORES) --directory demo-multi --configfile demo-multi/config.yaml
	cohortpose demo-error demo-multi

openfield: install
	$(BIN)/python benchmarks/openfield.py prepare openfield
	snakemake --cores $(CORES) --directory openfield --configfile openfield/config.yaml
	$(BIN)/python benchmarks/openfield.py summarise openfield

test: install
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

check: install
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint
	$(BIN)/python workflow/schemas/write.py --check

documents: install
	$(BIN)/python workflow/schemas/write.py

# Versions that are pinned already stay as they are.
lock: install
	head -n 2 constraints.txt > build-constraints.txt
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-header --no-annotate \
		--constraint constraints.txt pyproject.toml >> build-constraints.txt
	mv build-constraints.txt constraints.txt
