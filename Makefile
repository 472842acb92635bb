# Every command of the house. `make` alone lists them. Extra flags: make up ARGS="--executors 2"
BIN := .venv/bin
ARGS ?=
# Without byte code pytest sometimes dies on CPython 3.11 while it rewrites hypothesis' assertions.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo up down status test lint lock lock-clients docs model mutants bench clean
.PHONY: images compose-up compose-demo compose-down

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: ## set up .venv and Kafka's jars; every command below does it by itself
	@PYTHON='$(PYTHON)' sh cli/install.sh

demo: install ## see orders travel the whole way, with faults and a kill, and the proof
	@$(BIN)/orderonce demo $(ARGS)

up: install ## start the whole stack on this machine
	@$(BIN)/orderonce up $(ARGS)

down: install ## stop it; the data stays
	@$(BIN)/orderonce down $(ARGS)

status: install ## what runs where
	@$(BIN)/orderonce status $(ARGS)

# Two at a time, each with servers of its own; end-to-end tests once on each stack there is.
WORKERS ?= 2
# These four need Docker and nothing else. CLUSTER=1: three brokers, and a standby of Postgres.
images: ## build the container images (TAG=dev)
	@deploy/images.sh $(TAG)

compose-up: images ## start the whole line in containers
	@CLUSTER='$(CLUSTER)' deploy/stack.sh up

compose-demo: images ## the demo in containers: orders of every kind, faults, a killed executor, the proof
	@CLUSTER='$(CLUSTER)' deploy/stack.sh demo

compose-down: ## stop the containers; the data stays (ARGS=-v removes it)
	@CLUSTER='$(CLUSTER)' deploy/stack.sh down $(ARGS)

test: install ## every test, on real Kafka and real Postgres, and in containers where Docker answers
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal --stack both $(ARGS)

lint: install ## style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --system-certs
lock: install ## choose new versions: packages and Kafka's jars, both with hashes
	$(COMPILE) --upgrade --all-extras --group dev pyproject.toml --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --extra plots pyproject.toml --output-file deploy/requirements.lock
	printf '%s\n' hatchling editables | $(COMPILE) --constraint requirements.lock - --output-file deploy/build.lock
	$(BIN)/python -m orderonce_cli.stack.kafka lock

lock-clients: install ## choose new versions of what the foreign clients of the tests stand on
	$(BIN)/python -m tests.clients lock

docs: install ## write the generated documents again
	$(BIN)/python docs/generate.py

model: install ## search the protocol's model exhaustively
	$(BIN)/python -m tests.model all

mutants: install ## remove the protocol's guards one by one; each must turn a test red
	$(BIN)/python -m tests.chaos.mutants $(ARGS)

BENCHMARKS = p2_executor p3_latency p4_line p5_ledger p10_start p11_replay
bench: install ## every benchmark, its limit beside it; some ten minutes (benchmarks/README.md)
	@for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/python -m benchmarks.page

clean: ## remove .venv, caches and the data folder of this checkout
	@if [ -x $(BIN)/orderonce ]; then $(BIN)/orderonce down --wipe; fi
	rm -rf .venv .data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
