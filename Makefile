# Two commands matter: `make demo` shows the main job, `make test` runs the tests. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH := operator:deploy/dev
BENCH ?= reaction
WORKERS ?= 2
# Files are shared out in their order: those with a bed of their own come first, and the short ones fill the end.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help install parts demo test test-all e2e e2e-down bench fuzz campaign lint format lock crd chart docs clean

help:            ## This list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(VENV)/.installed  ## A virtual environment with the locked dependencies

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

parts: install   ## The programs of the test bed: from the cache, downloaded and verified, or built
	$(BIN)/python -m bed.parts

demo: install    ## The main job on real parts (KEEP=1 leaves them up), or SCENARIO=payments | shared-limit
	$(BIN)/python -m bed.demo $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(KEEP),--keep)

test: parts      ## All tests that fit into a coffee break, two files at a time (WORKERS=2)
	$(PYTEST) -m "not long and not e2e" $(ARGS)

test-all: parts  ## All tests
	$(PYTEST) -m "not e2e" $(ARGS)

e2e: install     ## The image, the chart and real pods on kind (KEEP=1 leaves the cluster up; ARGS="-k leader")
	KEEP=$(KEEP) $(BIN)/python -m pytest tests/e2e -m e2e -x --durations=0 $(ARGS)

e2e-down: install ## Delete that cluster, and end the Docker engine that was started for it
	$(BIN)/python -m kind down

bench: parts     ## A benchmark: BENCH=reaction | promise | fleet (N=1000) | lag (PEERS=1) | policies | diagnosis | scrape (N=10000) | specs (N=100000) | neighbours (N=1000) | soak (N=75, minutes)
	$(BIN)/python -m tests.bench $(BENCH) $(if $(N),--n $(N)) $(if $(PEERS),--peers)

fuzz: install    ## Bad inputs for every parser: N=200000 of them, SEED=1 the first
	$(BIN)/python -m tests.fuzz $(if $(N),--n $(N)) $(if $(SEED),--seed $(SEED))

campaign: parts  ## The fault campaign: ROWS=A1,B2 for some rows, SEEDS=4 runs of each fault, RUNS=8 at the same time (KEEP=1 keeps the results for the page)
	$(BIN)/python -m tests.campaign $(if $(ROWS),--rows $(ROWS)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(RUNS),--parallel $(RUNS)) $(if $(KEEP),--keep)

lint: install    ## Linters, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: install    ## Resolve the dependencies anew
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements-dev.lock

crd: install     ## Generate crds/ anew, and what the chart has of it
	$(BIN)/consumer-autoscaler crd > crds/consumerautoscalers.yaml
	$(BIN)/python -m bed.chart

chart: install   ## Make the chart's schema, README, CRD and dashboards
	$(BIN)/python -m bed.chart

docs: install    ## The documentation as a site, in build/site
	$(BIN)/python -m pages.resource > docs/resource.md
	$(BIN)/python -m pages.settings > docs/settings.md
	$(BIN)/python -m pages.metrics > docs/metrics.md
	$(BIN)/python -m pages.alerts > docs/alerts.md
	$(BIN)/python -m pages.reliability > docs/reliability.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:           ## Remove what was built here; the cache outside of the repository stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo.png
