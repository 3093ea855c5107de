# Every command a person types. `make` prints the list; a target that needs set-up does it first, once.
# Set-up is remembered by stamp files (build/setup/*): a second run does no set-up work.

PY := .venv/bin/python
STAMPS := build/setup
PROJECTS := $(wildcard protos/pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml deploy/local/pyproject.toml)
TIERS := unit contract integration e2e chaos
export PYTHONPATH := $(CURDIR)/examples

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test check lint format unit contract integration e2e chaos chaos-full fuzz fuzz-long h2spec interop bench \
	protos events-doc lock kafka kafka-libs up down status check-settings clean distclean

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | \
		awk -F'\t' '{ printf "  make %-13s %s\n", $$1, $$2 }'

# ---- the two that matter -------------------------------------------------------------------------------------------

demo: $(STAMPS)/python $(STAMPS)/kafka-classes ## set up, then show the closed loop on a year of real flights (ARGS=… passed on)
	$(PY) -m flights.demo $(ARGS)

test: $(STAMPS)/python $(STAMPS)/kafka-classes $(STAMPS)/objects $(STAMPS)/postgres ## set up, then unit, contract, integration, e2e and chaos smoke
	$(PY) tools/tiers.py $(TIERS) $(ARGS)

# ---- every day -----------------------------------------------------------------------------------------------------

check: $(STAMPS)/python ## before every commit: lint and unit tests, under a minute
	@$(MAKE) --no-print-directory lint
	$(PY) tools/tiers.py unit-most unit-waiting

lint: $(STAMPS)/python ## ruff, habits, mypy strict, import-linter; stubs, AsyncAPI and contract against main
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(PY) tools/habits.py
	$(PY) tools/protos.py --check
	$(PY) tools/breaking.py
	$(PY) tools/events_doc.py --check
	$(PY) tools/events_pages.py --check
	.venv/bin/lint-imports
	.venv/bin/mypy

format: $(STAMPS)/python ## rewrite the code as ruff likes it
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

unit: $(STAMPS)/python ## domain, use cases, converters; no network; 10 s
	$(PY) tools/tiers.py unit

contract: $(STAMPS)/python $(STAMPS)/kafka-classes $(STAMPS)/objects $(STAMPS)/postgres ## each port on its fake and on the real thing; protos; events
	$(PY) tools/tiers.py contract

integration: $(STAMPS)/python $(STAMPS)/kafka-classes $(STAMPS)/objects $(STAMPS)/postgres ## one service at a time, on a real Kafka
	$(PY) tools/tiers.py integration

e2e: $(STAMPS)/python $(STAMPS)/kafka-classes ## the journeys, all services as processes
	$(PY) tools/tiers.py e2e

chaos: $(STAMPS)/python $(STAMPS)/kafka-classes ## kills, restarts, duplicates; invariants at the end (smoke, 3 minutes)
	$(PY) tools/tiers.py chaos

chaos-full: $(STAMPS)/python $(STAMPS)/kafka-classes ## the same, longer (15 minutes)
	$(PY) tools/tiers.py chaos-full

fuzz: $(STAMPS)/python ## a minute of broken input for all that reads from outside (ARGS="--seconds 600 --seed 7")
	$(PY) tools/tiers.py fuzz $(ARGS)

fuzz-long: $(STAMPS)/python ## the same for ten minutes; what is found to lead further is kept in build/fuzz
	$(PY) tools/tiers.py fuzz --seconds 600 --corpus build/fuzz $(ARGS)

h2spec: $(STAMPS)/python $(STAMPS)/gotools ## HTTP/2 conformance of the front (ARGS="--front grpcio", "--inference", "--address HOST:PORT")
	$(PY) tests/interop/h2spec.py $(ARGS)

interop: $(STAMPS)/python $(STAMPS)/gotools $(STAMPS)/clients ## grpc-go, grpc-java and grpc-js against both fronts (ARGS="--front own --client go")
	$(PY) tests/interop/run.py $(ARGS)
	$(PY) tests/interop/rest.py

bench: $(STAMPS)/python $(STAMPS)/kafka-classes $(STAMPS)/load ## a page of figures about the hot path (ARGS="w1 swaps --front own", ARGS=bus, ARGS=--list)
	$(PY) tests/bench $(ARGS)

bench-peers: $(STAMPS)/python $(STAMPS)/kafka-classes $(STAMPS)/load ## beside MLServer, KServe, PyTriton and Triton, each fetched from PyPI (ARGS="w1 triton")
	$(PY) tests/bench/bench_peers.py $(ARGS)

# ---- the system on this machine --------------------------------------------------------------------------------------

up: $(STAMPS)/python $(STAMPS)/kafka-classes ## start Kafka and the four services; FROM=folder serves a saved state
	@$(PY) -m gyrostat_local up --folder $(or $(FROM),data)

down: ## stop what `make up` started; the data stays
	@test ! -x $(PY) || $(PY) -m gyrostat_local down $(if $(FROM),--folder $(FROM))

status: $(STAMPS)/python ## what `make up` started: service, address, health, data folder
	@$(PY) -m gyrostat_local status $(if $(FROM),--folder $(FROM))

kafka: $(STAMPS)/python $(STAMPS)/kafka-classes ## run only Kafka, in the foreground, on 127.0.0.1:9092
	deploy/kafka/run data/kafka

# ---- what is generated -----------------------------------------------------------------------------------------------

protos: $(STAMPS)/python ## make the stubs and descriptor sets from the .proto files
	$(PY) tools/protos.py

events-doc: $(STAMPS)/python ## make docs/asyncapi.yaml and the tables of topics and ACLs from the descriptors
	$(PY) tools/events_doc.py
	$(PY) tools/events_pages.py

lock: $(STAMPS)/python ## make requirements.lock from requirements.in
	tools/lock $(ARGS)

# ---- set-up ----------------------------------------------------------------------------------------------------------

setup: $(STAMPS)/python $(STAMPS)/kafka-classes $(STAMPS)/objects $(STAMPS)/postgres ## all set-up and nothing else

kafka-libs: $(STAMPS)/kafka ## fetch the Kafka jars into build/kafka/libs

$(STAMPS)/python: requirements.lock $(PROJECTS) tools/setup
	tools/setup python

$(STAMPS)/kafka: deploy/kafka/pom.xml tools/setup
	tools/setup kafka

$(STAMPS)/kafka-classes: $(STAMPS)/kafka deploy/kafka/classes deploy/kafka/run | $(STAMPS)/python
	-$(PY) deploy/kafka/classes # a quicker start, no more: without it everything works
	@touch $@

$(STAMPS)/objects: deploy/objects/pom.xml tools/setup
	tools/setup objects

$(STAMPS)/postgres: tools/setup
	tools/setup postgres

$(STAMPS)/gotools: $(wildcard tests/interop/go/*/go.*) tools/setup
	tools/setup gotools

$(STAMPS)/clients: tests/interop/java/pom.xml tests/interop/js/package-lock.json tools/setup
	tools/setup clients

$(STAMPS)/load: tools/setup
	tools/setup load

clean: ## remove what tests, demo and `make up` left behind; keep the set-up
	rm -rf data build/demo build/test .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## remove the set-up too
	rm -rf build .venv
