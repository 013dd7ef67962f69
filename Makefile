# Every target sets up .venv first, once per change of pyproject.toml or constraints.txt.
# The set-up needs Python 3.11 or 3.12 and pip; compiling Triton kernels needs a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One process for each core; each test goes to whichever is free.
WORKERS ?= auto
# What runs the original interpreter, and the families that are measured on a GPU.
ORIGINAL_PYTHON ?= python3
ON_GPU := diagonal dense diagonal_gru chunks
EXTRAS := torch,triton,jax,demo,peers,dev,docs,bench

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-gpu bench bench-page bench-modules bench-gpu lint types docs pages clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

# The constraints keep the CPU build of torch where there is one; without them pip takes a newer torch and CUDA.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

setup: $(READY)  ## create .venv with everything that the targets below use

demo: $(READY)  ## compile a language model for JAX and Triton, train it on real text, read digits, show the results
	$(BIN)/python -m lsrl compile examples/charlm.lsrl --target jax -o build/demo/charlm_jax.py
	$(BIN)/python -m lsrl compile examples/charlm.lsrl --target triton -o build/demo/charlm_triton.py
	$(BIN)/python examples/charlm.py --quick -o build/demo
	$(BIN)/python examples/digits.py --quick -o build/demo
	$(BIN)/python examples/digits_grid.py --quick -o build/demo

test: $(READY)  ## run the tests, without the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow and not gpu'

test-all: $(READY)  ## run all tests that need no GPU
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not gpu'

test-gpu: $(READY)  ## run the tests that need a CUDA device
	TRITON_INTERPRET=0 $(BIN)/python -m pytest -m gpu

bench: $(READY)  ## measure every family on this CPU beside its peers (some ten minutes), and write the page
	$(BIN)/python tests/benchmarks/diagonal.py
	$(BIN)/python tests/benchmarks/dense.py
	$(BIN)/python tests/benchmarks/diagonal_gru.py
	$(BIN)/python tests/benchmarks/chunks.py
	$(BIN)/python tests/benchmarks/exact.py $(if $(ORIGINAL),--original $(ORIGINAL) --original-python $(ORIGINAL_PYTHON))
	$(BIN)/python tests/benchmarks/compile_time.py --rounds 1
	$(BIN)/python tests/benchmarks/costs.py
	$(BIN)/python tests/benchmarks/report.py

bench-page: $(READY)  ## write the page of measurements, and its plots, from the results that are there
	$(BIN)/python tests/benchmarks/report.py

# The device needs PyTorch, Triton and NumPy; our modules come from here where it lacks the compiler.
bench-modules: $(READY)  ## write the modules that bench-gpu runs, into build/benchmarks/modules
	set -e; for family in $(ON_GPU); do $(BIN)/python tests/benchmarks/$$family.py --device cuda --emit; done

bench-gpu:  ## measure the families on a CUDA device, with PYTHON
	set -e; for family in $(ON_GPU); do PYTHONPATH=. $(PYTHON) tests/benchmarks/$$family.py --device cuda; done

lint: $(READY)  ## style, import order, forbidden imports
	$(BIN)/ruff check .

# Type checkers do not see through the mapping of directories to packages, so they get one tree of links.
types: $(READY)  ## check the types
	rm -rf build/types && mkdir -p build/types/lsrl
	cd build/types/lsrl && ln -s ../../../lsrl/* ../../../ir ../../../backends .
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p lsrl

docs: $(READY)  ## build the documentation into build/docs
	$(BIN)/sphinx-build -W --keep-going --quiet -b html docs build/docs

pages: $(READY)  ## write anew what the documentation shows of the code and its output
	$(BIN)/python -m pytest -q tests/docs --update-golden

clean:  ## remove what was built, and .venv
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
