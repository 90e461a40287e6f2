# Everything a person does with this repository. `make` alone says what there is.

PYTHON ?= python3
INPUT ?=
SEEDS ?= 20
DAYS ?= 90
FIRST ?= 1
# A safeguard to take out of the simulation, to see that its loss is noticed, such as BREAK=hold.
BREAK ?=
# A rule to take out of the lease protocol's model, to see what it is for.
WITHOUT ?=
# Test processes: one more than the smallest machine has processors, for tests wait for commits and answers now and then. Each collects all
# tests: of four, the fourth took longer to begin than it saved.
WORKERS ?= 3
# The database that test-postgres and test-citus run on.
DATABASE ?=
# What the image is built on, such as BASE=debian-with-python@sha256:…; without it, what `make image-base` made.
BASE ?=
# How `make chaos` runs, such as CHAOS=--processes where there is podman but processes are wanted.
CHAOS ?=
# What `make test` runs, such as TESTS=tests/unit or TESTS="tests/unit -k merkle".
TESTS ?= tests

VENV := .venv
PY := $(VENV)/bin/python
CODE := $(wildcard services shared clients/kept deploy tests bench protos)

.DEFAULT_GOAL := help
.PHONY: help setup run stop demo test test-postgres test-citus fuzz lint deploy-check deploy-proof proto simulate model bench bench-peers \
	image image-base image-check chaos lock clean

help: ## this list
	@echo "Kept: promises about prompts, made true. Start with: make run"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "%-13s %s\n", $$1, $$2 }'
	@echo
	@echo "An older python3 on this machine? make PYTHON=python3.12 run"

setup: ## make .venv from the locked list and compile the contracts (the others do it by themselves)
	@$(PYTHON) deploy/setup_environment.py

run: setup ## start the whole stack here, play the story on the sample, leave the stack up
	@$(PY) -m deploy.local run

stop: setup ## end the stack
	@$(PY) -m deploy.local stop

demo: setup ## play the story and end the stack: make demo INPUT=file.jsonl (the sample without it)
	@$(PY) -m deploy.local demo $(if $(INPUT),"$(INPUT)")

test: setup ## all tests: make test TESTS=tests/unit WORKERS=4
	@$(PY) -m pytest $(if $(filter-out 0 1,$(WORKERS)),-n $(WORKERS) --dist loadgroup) $(TESTS)

test-postgres: setup ## logging's tests on a server of yours: make test-postgres DATABASE=postgresql://…
	@$(PY) -m tests.given postgres "$(DATABASE)"

test-citus: setup ## the same on a Citus coordinator, distributed: make test-citus DATABASE=postgresql://…
	@$(PY) -m tests.given citus "$(DATABASE)"

fuzz: setup ## properties on new random examples, many: make fuzz TESTS=tests/unit/logging
	@$(PY) -m pytest --hypothesis-profile=fuzz -m hypothesis $(TESTS)

lint: setup ## style, types, who may import whom, contracts
	@echo "lint: style (ruff)"
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check . || { echo "lint: the files above are not formatted; run $(VENV)/bin/ruff format ."; exit 1; }
	@echo "lint: types (mypy)"
	@$(VENV)/bin/mypy $(CODE)
	@echo "lint: who may import whom (import-linter)"
	@$(VENV)/bin/lint-imports --no-logo
	@echo "lint: policies (Cedar)"
	@$(VENV)/bin/kept policy test services/access_control/authorization/policies
	@echo "lint: contracts (buf)"
	@$(PY) protos/lint.py

deploy-check: setup ## render the Kubernetes overlays, check them against schemas, contracts, metrics and rules
	@$(PY) -m deploy.check

deploy-proof: setup ## run what the overlays deploy, as containers on this machine (root, podman, make image before)
	@$(PY) -m deploy.proof

proto: setup ## compile the contracts again, changed or not
	@$(PY) protos/generate.py --force

simulate: setup ## random histories against the invariants: make simulate SEEDS=20 DAYS=90
	@$(PY) -m tests.simulation --seeds $(SEEDS) --days $(DAYS) --first $(FIRST) $(if $(BREAK),--break $(BREAK))

model: setup ## the lease protocol in every order of events; how it breaks without a rule: make model WITHOUT=clock_after_lock
	@$(PY) -m tests.models $(if $(WITHOUT),--without $(WITHOUT))

bench: setup ## measure, and write build/bench.json
	@$(PY) -m bench

bench-peers: setup ## measure against Arize Phoenix, installed for it under build/, and add to build/bench.json
	@$(PY) -m bench phoenix_ratio

image: setup ## build the container image: make image BASE=name@sha256:… of a Debian with python3 (see deploy/image/README.md)
	@$(PY) -m deploy.image build $(if $(BASE),--base "$(BASE)")

image-base: setup ## make such a Debian here by debootstrap, as root, for machines that reach no registry of images
	@$(PY) -m deploy.image base

image-check: setup ## build the image twice, and try on it what is demanded of it
	@$(PY) -m deploy.image check $(if $(BASE),--base "$(BASE)")

chaos: setup ## two replicas of everything under load, while parts are killed, cut off and replaced: writes build/chaos.md
	@$(PY) -m deploy.chaos $(CHAOS)

UV_LOCK := $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate \
	--no-header --python-version 3.11

lock: setup ## resolve requirements*.in into requirements*.lock: make lock UPGRADE=--upgrade for newer versions
	@$(UV_LOCK) $(UPGRADE) requirements.in -o requirements.lock
	@$(UV_LOCK) $(UPGRADE) requirements-dev.in -o requirements-dev.lock
	@$(UV_LOCK) $(UPGRADE) requirements-buf.in -o requirements-buf.lock

clean: ## end the stack and remove what was made here: .venv, build, caches
	@if [ -e build/stack/running.json ] || [ -e build/stack/postgres/postmaster.pid ]; then $(PY) -m deploy.local stop || \
		{ echo "clean: nothing is removed, for what runs in build/stack could not be ended:" \
			"make stop, then make clean, or remove build/stack yourself if nothing runs" >&2; exit 1; }; fi
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
