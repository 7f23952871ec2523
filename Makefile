# make demo       render a cohort and run everything on it
# make demo-multi the same with three animals in each video
# make demo-3d    two animals filmed by four cameras: from images of a board to three dimensions
# make openfield  the same on DeepLabCut's real open-field mouse
# make test       the tests
# make oldest     the quick tests with the oldest versions that pyproject.toml allows
# make check      static checks: style, types, layers, workflow, documentation
# make coverage   the tests, with coverage of the package, also in the processes that they start
# make docs       the documentation site, in build/site
# make lock       locks/: the pinned versions, for every platform and Python
# make documents  config/README.md and the schema, from the settings' own descriptions
#
# They install what they need into .venv. To choose:
#   TORCH=cpu      PyTorch without CUDA, some gigabytes less
#   TORCH=own      PyTorch as it is in .venv already (another CUDA build)
#   PYTHON=...     the Python that .venv is made with: 3.11 to 3.13
#   VENV=...       another folder than .venv
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?= pypi
CORES ?= $(shell nproc)
export PATH := $(abspath $(VENV))/bin:$(PATH)

LOCKS_pypi := locks/torch.txt locks/run.txt
LOCKS_cpu := locks/torch-cpu.txt locks/run.txt
LOCKS_own := locks/run.txt
LOCKS := $(or $(LOCKS_$(TORCH)),$(error TORCH is pypi, cpu or own, not $(TORCH)))

.PHONY: demo demo-multi demo-3d openfield test quick oldest peers check coverage docs documents lock run install

# What running needs, in the versions that the figures were measured with.
run: $(BIN)/.run-$(TORCH)

$(BIN)/.run-$(TORCH): pyproject.toml $(LOCKS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	rm -f $(BIN)/.run-*
	locks/install.sh $(BIN)/python $(LOCKS)
	touch $@

# What tests and checks need besides.
install: $(BIN)/.installed

$(BIN)/.installed: $(BIN)/.run-$(TORCH) locks/develop.txt
	locks/install.sh $(BIN)/python locks/develop.txt
	touch $@

demo: run
	cohortpose demo demo
	snakemake --cores $(CORES) --directory demo --configfile demo/config.yaml
	cohortpose demo-error demo

demo-multi: run
	cohortpose demo demo-multi --individuals 3 --videos 5 --labelled-frames 80
	snakemake --cores $(CORES) --directory demo-multi --configfile demo-multi/config.yaml
	cohortpose demo-error demo-multi

demo-3d: run
	cohortpose demo demo-3d --cameras 4 --boards 72 --size 320 --individuals 2 --videos 3 --frames 60 --labelled-frames 132
	snakemake --cores $(CORES) --directory demo-3d --configfile demo-3d/config.yaml
	cohortpose demo-error demo-3d

openfield: run
	$(BIN)/python benchmarks/accuracy/openfield.py prepare openfield
	snakemake --cores $(CORES) --directory openfield --configfile openfield/config.yaml
	$(BIN)/python benchmarks/accuracy/openfield.py summarise openfield

test: install
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

# What needs neither Snakemake nor a trained network: for other versions of Python.
QUICK := tests/api tests/core tests/kernels tests/io/labels tests/io/poses
quick: install
	$(BIN)/python -m pytest --quiet $(QUICK)

# NumPy's lower bound has no wheels for newer Pythons than this one.
oldest: OLDEST := $(VENV)-oldest
oldest: install
	uv venv --quiet --clear --python 3.11 $(OLDEST)
	uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable . \
		"pytest>=8.3.5" "pytest-xdist>=3.6" "hypothesis>=6.100"
	$(OLDEST)/bin/python -m pytest --quiet $(QUICK) $(PYTEST_OPTIONS)

# Other tools, whose pins do not go with ours: NAME="movement dandi".
peers: install
	tests/peers/environments.sh $(NAME)

check: install
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint
	$(BIN)/python workflow/schemas/write.py --check
	$(MAKE) --no-print-directory docs

# PYTEST_OPTIONS chooses tests, as in `make test`.
coverage: install
	$(BIN)/python -m pytest --cov --cov-report term --cov-report html:build/coverage $(PYTEST_OPTIONS)

# Any warning is an error: a link that leads nowhere, a page that nothing names.
docs: install
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

documents: install
	$(BIN)/python workflow/schemas/write.py

lock: install
	$(BIN)/python locks/write.py
