# Every command a person or CI needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
export PYTHONPATH := operator:deploy/local
# Python keeps what it has compiled, whatever the surroundings say: the tests start the operator a hundred times.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo up down
help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-15s %s\n", $$1, $$2}'

setup: $(READY)  ## install exactly the locked dependencies into .venv
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed (make PYTHON=python3.x …)")'
	@$(PYTHON) deploy/local/localsetup.py $(VENV) requirements.lock
	@touch $@

demo: $(READY)  ## tell the whole story on this machine: real Kubernetes API, simulated cloud (USE_CLUSTER=1: your cluster)
	@$(BIN)/python -m localdemo demo

.PHONY: demo-jobs
demo-jobs: $(READY)  ## a job on spot machines: it waits for stock, loses two machines, ends, and leaves nothing (make kueue: in a queue)
	@$(BIN)/python -m localdemo jobs

up: $(READY)  ## start the same and leave it running, with the commands to play with
	@$(BIN)/python -m localdemo up

down: $(READY)  ## end what `make up` started
	@$(BIN)/python -m localdemo down

# Three for each core of a small machine, because most of the time the end-to-end tests wait for real processes; each takes
# up to 1 GB of memory. 0 runs the tests in order, in one process. At the end stand the slowest tests.
WORKERS ?= 6
test: check assets helm prometheus scheduler tools  ## check, then all tests but the rare ones, those on a real control plane included
	$(BIN)/pytest -n $(WORKERS) --durations=30

FAST := plan report api model commands telemetry golden mutation/test_catalogue.py test_layout.py test_structure.py
.PHONY: fast
fast: check  ## check, and the tests of the packages that only compute: for every save, within a minute
	$(BIN)/pytest -q -n auto -k "not test_the_gate" $(addprefix tests/,$(FAST))

check: $(READY)  ## format, lint, types, import contracts, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=operator:deploy/local $(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@$(BIN)/spotcompute crd | diff -u $(CRD) - || { echo "$(CRD) is not what the code makes: run 'make crds' and commit"; exit 1; }
	@$(BIN)/spotcompute crd --instances | diff -u $(INSTANCES) - || { echo "$(INSTANCES) is not what the code makes: run 'make crds' and commit"; exit 1; }

.PHONY: crds
CRD := crds/spotcompute.dev_spotcomputeenvironments.yaml
INSTANCES := crds/spotcompute.dev_spotinstances.yaml
crds: $(READY)  ## generate the CustomResourceDefinition, the chart's copies and the reference pages from the code
	$(BIN)/spotcompute crd > $(CRD).new && mv $(CRD).new $(CRD)
	$(BIN)/spotcompute crd --instances > $(INSTANCES).new && mv $(INSTANCES).new $(INSTANCES)
	$(BIN)/spotcompute crd --json-schema > deploy/schema/spotcomputeenvironment_v1alpha1.json
	$(BIN)/python docs/generate.py
	$(BIN)/python deploy/charts/generate.py
	$(BIN)/python tests/mutation/gate.py --table

.PHONY: golden
golden: $(READY)  ## write the lists of names that users see anew, after a wanted change of one
	@PYTHONPATH=$(PYTHONPATH):tests $(BIN)/python tests/golden/names.py

.PHONY: browser
browser:  ## install Chromium from Debian's packages, for the tests of the page (as root, or with sudo)
	@command -v chromium > /dev/null || { sudo=$$(command -v sudo || true); \
	  $$sudo apt-get update -qq && $$sudo apt-get install --yes -qq --no-install-recommends chromium fonts-dejavu-core; }

.PHONY: assets
assets: $(READY)
	@$(BIN)/python -m localcluster assets

.PHONY: scheduler
scheduler: $(READY)
	@$(BIN)/python -m localcluster scheduler

.PHONY: kueue
kueue: $(READY)  ## build Kueue once and cache it: minutes, only for jobs that queue
	@$(BIN)/python -m localcluster kueue

.PHONY: helm
helm: $(READY)
	@$(BIN)/python -m localcluster helm

.PHONY: tools
tools: $(READY)
	@$(BIN)/python -m localcluster tools

.PHONY: prometheus
prometheus: $(READY)
	@$(BIN)/python -m localcluster prometheus

CHART := deploy/charts/spotcompute-operator
chart: helm  ## lint the Helm chart, and package it into dist/
	@helm=$$($(BIN)/python -m localcluster helm); $$helm lint --strict $(CHART); $$helm package $(CHART) --destination dist

bench: $(READY) assets  ## measure simulator and operator, and print the figures
	$(BIN)/python benchmarks/cvmsim_bench.py
	$(BIN)/python benchmarks/start_bench.py
	$(BIN)/python benchmarks/operator_bench.py

.PHONY: bench-scale
bench-scale: $(READY) assets  ## measure fills, reactions and rest at scale beside their bounds (SCALE='fill-one': one row)
	$(BIN)/python benchmarks/scale_bench.py $(SCALE)

.PHONY: bench-peers
bench-peers: $(READY) assets  ## measure a loop with the vendor's command line beside the operator (installs 0.6 GB of its own)
	$(BIN)/python benchmarks/peers_bench.py $(PEERS)

PICTURES := $(VENV)/.installed-pictures
$(PICTURES): benchmarks/requirements.lock $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/requirements.lock
	@touch $@

.PHONY: bench-market
bench-market: $(PICTURES)  ## measure the market's promises and strategies (TRACES=dir: a clone of skypilot-org/spot-traces)
	$(BIN)/python benchmarks/market_bench.py --pictures .cache/market $(MARKET)

.PHONY: bench-makespan
bench-makespan: $(PICTURES)  ## measure a job of 200 tasks on spot traces beside machines that nobody takes back (TRACES=dir: as above)
	$(BIN)/python benchmarks/makespan_bench.py --picture .cache/makespan.png $(MAKESPAN)

conformance: $(READY)  ## drive the simulator with the vendor's command line, SDKs and samples (installs 0.6 GB of its own)
	$(BIN)/python tests/conformance/run.py

.PHONY: rights
rights: $(READY) assets  ## run the operator without each of its rights in turn, and see that it says which it lacks
	RIGHTS=each $(BIN)/pytest tests/e2e/test_rights.py

.PHONY: mutants
mutants: $(READY)  ## plant forty known bugs in a copy of the operator, and see that the tests notice each
	$(BIN)/python tests/mutation/gate.py

MUTANTS ?= 300
SAMPLER := .cache/mutants
$(SAMPLER)/.installed: tests/mutation/requirements.lock
	$(PYTHON) -m venv $(SAMPLER)
	$(SAMPLER)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/mutation/requirements.lock
	@touch $@

.PHONY: mutants-sample
mutants-sample: $(READY) $(SAMPLER)/.installed assets  ## make MUTANTS=300 random mistakes (SEED=n: the same again), count those noticed
	@$(BIN)/python tests/mutation/sample.py --python $(SAMPLER)/bin/python --mutants $(MUTANTS) $(if $(SEED),--seed $(SEED))

.PHONY: explore
explore: $(READY)  ## look for counterexamples of every property at random, ten times over
	@for round in {1..10}; do $(BIN)/pytest -q -n $(WORKERS) -m hypothesis --hypothesis-profile=explore tests; done

MINUTES ?= 30
.PHONY: prove
prove: $(READY) assets  ## play new faults for MINUTES=30 on all cores (SEED=n: the same again; PLAY='…': one play again)
	@$(BIN)/python tests/simulation/prove.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(PLAY),--play '$(PLAY)')

SITE := .cache/site
$(SITE)/.installed: docs/requirements.lock
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $@

.PHONY: docs
docs: $(SITE)/.installed  ## build the documentation's site into dist/site, and check every link and anchor
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet

.PHONY: hostile
hostile: $(READY) assets  ## try 50,000 hostile manifests, apply 2,000 to a running operator, and print the figures
	$(BIN)/python tests/hostile/play.py $(HOSTILE)

include deploy/supply-chain/targets.mk
include deploy/release/targets.mk

clean:  ## remove what was installed and cached in this checkout
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
