# Two commands are all a newcomer needs: `make run` and `make test`. Both call `make setup` first.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
ARGS ?=
MINUTES ?= 30
# Processes of tests, each with an embedded stack of its own; half of the tests wait most of the time.
JOBS ?= 2
# Wheels only, for the Debian of deploy/images/bases.env; versions as in constraints.txt.
IMAGE_LOCK := --python-version 3.11 --python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes \
  -c constraints.txt --no-annotate --no-header --no-emit-package waypost

.PHONY: dashboards help setup run test test-faults test-gate test-cluster drill soak lint golden bench bench-quality bench-full chart-tools chart-docs images lock clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv with everything, the embedded Triton included; does nothing while the pins are unchanged
	@deploy/setup.sh

run: setup ## Postgres, S3, SQS, Triton, a graph, a night, a gateway and a worker: the first recommendation (ARGS=--once stops after it)
	@$(BIN)/waypost local run $(ARGS)

lint: setup ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup lint chart-tools ## lint, then every test, on the real parts, in JOBS=2 processes
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

test-faults: setup ## the long tests: chaos runs and planted bugs, SIGTERM and SIGKILL under load, hundreds of adversarial histories
	$(BIN)/pytest -m faults $(ARGS)

test-gate: setup ## ruined models, of which the gate refuses all, and honest retrains, of which it accepts 19 of 20
	$(BIN)/pytest -m gate -s $(ARGS)

test-cluster: setup ## the chart and KEDA on a real Kubernetes control plane; builds it first, once, from Go modules (needs Go 1.26)
	@$(BIN)/python deploy/cluster/build.py > /dev/null
	$(BIN)/pytest -m cluster -s tests/cluster $(ARGS)

drill: setup ## kill, stop and fool the parts of a whole stack under load; how soon is it noticed, how soon is it mended
	$(BIN)/pytest -m drill -s $(ARGS)

soak: setup ## the long ones: memory under load for MINUTES=30, a hundred releases in a row, twenty of them broken, a rollback
	SOAK_MINUTES=$(MINUTES) $(BIN)/pytest -m soak -s $(ARGS)

golden: setup ## write the golden config.pbtxt anew after a change of model/signature.py
	$(BIN)/python -c "from waypost.model.signature import config_pbtxt; print(config_pbtxt('onnxruntime', 'gpu'), end='')" > model_repository/recommender/config.pbtxt

bench: setup ## every measure beside its peers in one run, forty minutes; exits 1 on a missed bound (ARGS="--only csr" runs a part)
	$(BIN)/python -m bench $(ARGS)

bench-quality: setup ## the table of docs/results.md from empty, on ../shared/data; two hours at most, goes on where it stopped; exits 1 on a missed bound
	$(BIN)/python -m bench.quality $(ARGS)

bench-full: setup ## once: seconds to a given NDCG on gowalla beside the LightGCNs of torch-geometric and RecBole, an hour
	$(BIN)/python -m bench.full $(ARGS)

chart-tools: ## helm, built from its Go module once, for the tests of the chart; without Go they are skipped
	@deploy/cluster/build.py helm >/dev/null || echo "make: the tests of the chart are skipped without helm" >&2

dashboards: setup ## write grafana/dashboards and the rules of the objectives anew after a change of grafana/mixin or objectives.toml
	$(BIN)/python -m grafana.mixin

chart-docs: setup ## helm/waypost/README.md from values.yaml, and the names of settings in values.schema.json
	$(BIN)/python helm/chart_docs.py

images: ## build and push the four images, and print their digests: make images ARGS=REGISTRY (refuses base images without a digest)
	@deploy/images/build.sh $(ARGS)

lock: ## resolve constraints.txt anew from pyproject.toml, and from both the images' hash-locked requirements
	$(BIN)/uv pip compile -q --python-version 3.11 --extra dev pyproject.toml deploy/pins.txt --no-emit-package waypost --no-annotate -o constraints.txt
	for process in gateway worker trainer; do \
	  $(BIN)/uv pip compile -q $(IMAGE_LOCK) --extra $$process pyproject.toml -o deploy/requirements/$$process.txt; done
	$(BIN)/uv pip compile -q $(IMAGE_LOCK) deploy/requirements/build.in -o deploy/requirements/build.txt

clean: ## stop the embedded stack and remove what was made here
	-@$(BIN)/waypost local down
	rm -rf .venv .waypost
