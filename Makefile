# Every target says what it does: `make help`. What a target needs, it sets up itself.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# How many test processes: a number, or `auto` for one per core.
JOBS ?= auto
BIN := $(VENV)/bin
export PYTHON VENV

.PHONY: help demo test mutants sanitize fuzz faults soak lint format bench bench-full ci kafka debian sigma lock clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo ## Run the whole loop here: gateway, Kafka, monitor, attack, report (ARGS="--rate 20 --keep")
	@$(BIN)/monitor demo $(ARGS)

test: $(VENV)/.dev kafka debian sigma ## Run all tests, with a real Kafka where there is Java 17 (ARGS="-k name")
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

mutants: $(VENV)/.dev ## Make small mistakes in the core, one by one: which does no test notice? (ARGS="--limit 100")
	@$(BIN)/python -m tests.mutants.sweep $(ARGS)

faults: $(VENV)/.dev kafka ## Kill, pause and starve real workers by a seed, and judge what is left (ARGS="--runs 4 --seed 1 --rows 1,2")
	@$(BIN)/python -m tests.faults $(ARGS)

soak: $(VENV)/.dev kafka ## An hour of mixed faults: is all right, and does memory grow? (ARGS="--minutes 15")
	@$(BIN)/python -m tests.faults.soak $(ARGS)

fuzz: $(VENV)/.dev ## Fuzz the formats of gateways with atheris (ARGS="-max_total_time=600")
	@requirements/fuzz.sh
	@.cache/fuzz/bin/python -m tests.formats.fuzz $(ARGS)

sanitize: $(VENV)/.dev ## Run the tests of the native code with its memory watched (ARGS="-k native")
	@tests/engine/sanitized.sh $(ARGS)

lint: $(VENV)/.dev ## Check style, format, types and the layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code and mend what can be mended by itself
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev kafka ## Measure beside the limit, Faust and Kafka Streams, half an hour (ARGS="--runs 3")
	@bench/setup.sh streams
	@$(BIN)/python bench/contest.py $(ARGS)

bench-full: bench ## Measure also beside Quix Streams and Bytewax, and everything else: some hours
	@bench/setup.sh peers
	@$(BIN)/python bench/contest.py --only limit,ours,ours-intake,ours-detect,faust-hopping,faust-plain,quix-w1,bytewax-w1
	@for load in uniform hot; do echo "== load $$load"; \
	  $(BIN)/python bench/contest.py --load $$load --only limit,ours,ours-2,streams,streams-2; done
	@for script in growth idle latency blind memory recovery workers backtest detector demo_latency; do \
	  echo "== $$script"; $(BIN)/python "bench/$$script.py"; done

ci: lint test ## Do what CI does

kafka: ## Fetch the real Kafka for the tests (Maven Central; as root on Debian also Java and Maven)
	@tests/rig/kafka/setup.sh

debian: ## Install the servers that tests run beside us (Debian, as root)
	@tests/rig/debian/setup.sh

sigma: $(VENV)/.dev ## Install sigma-cli for the tests, in an environment of its own
	@requirements/sigma.sh

lock: $(VENV)/.dev ## Make the lock files again after a change of pyproject.toml
	@requirements/lock.sh

clean: ## Remove all that make and the tools left here
	rm -rf $(VENV) .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.%: requirements/%.txt requirements/build.txt requirements/install.sh pyproject.toml setup.py $(wildcard monitor/engine/src/*)
	@requirements/install.sh $* >&2
	@touch $@
