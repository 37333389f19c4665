# Two commands are all a newcomer needs: `make run` and `make test`. Both call `make setup` first.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
ARGS ?=

.PHONY: help setup run test test-faults test-gate drill soak lint golden bench bench-quality bench-full lock clean

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

test: setup lint ## lint, then every test, on the real parts
	$(BIN)/pytest $(ARGS)

test-faults: setup ## the long tests: hundreds of adversarial histories, killed backends, damaged objects
	$(BIN)/pytest -m faults $(ARGS)

test-gate: setup ## ruined models, of which the gate refuses all, and honest retrains, of which it accepts 19 of 20
	$(BIN)/pytest -m gate -s $(ARGS)

drill: setup ## kill, stop and fool the parts of a whole stack under load; how soon is it noticed, how soon is it mended
	$(BIN)/pytest -m drill -s $(ARGS)

soak: setup ## a hundred releases in a row under load, twenty of them broken; a rollback under load
	$(BIN)/pytest -m soak -s $(ARGS)

golden: setup ## write the golden config.pbtxt anew after a change of model/signature.py
	$(BIN)/python -c "from waypost.model.signature import config_pbtxt; print(config_pbtxt('onnxruntime', 'gpu'), end='')" > model_repository/recommender/config.pbtxt

bench: setup ## every measure beside its peers in one run, half an hour; exits 1 on a missed bound (ARGS="--only csr" runs a part)
	$(BIN)/python -m bench $(ARGS)

bench-quality: setup ## the table of docs/results.md from empty, on ../shared/data; two hours at most, goes on where it stopped; exits 1 on a missed bound
	$(BIN)/python -m bench.quality $(ARGS)

bench-full: setup ## once: seconds to a given NDCG on gowalla beside the LightGCNs of torch-geometric and RecBole, an hour
	$(BIN)/python -m bench.full $(ARGS)

lock: ## resolve constraints.txt anew from pyproject.toml
	$(BIN)/uv pip compile -q --python-version 3.11 --extra dev pyproject.toml deploy/pins.txt --no-emit-package waypost --no-annotate -o constraints.txt

clean: ## stop the embedded stack and remove what was made here
	-@$(BIN)/waypost local down
	rm -rf .venv .waypost
