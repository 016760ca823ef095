# `make` alone lists what there is. Everything runs in .venv, made on first use.
PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
# MLproject's commands call `python`: the one of .venv comes first
RUN := PATH="$(BIN):$$PATH"
STORE := sqlite:///$(CURDIR)/mlflow.db
MLFLOW_RUN := $(RUN) MLFLOW_TRACKING_URI=$(STORE) mlflow run . --env-manager local --experiment-name nt-synthetic

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow train-gan train-classifier study tune compare verify-models release bench gpu-smoke ui lint coverage docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with every pin
$(READY): pyproject.toml
	@echo "making $(VENV): PyTorch is large, this takes some minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY) ## the whole chain on the phantom: real, synthetic and hybrid compared, in minutes
	@$(MLFLOW_RUN) -e main -P out=outputs/demo

train-gan: $(READY) ## train the generator (configs/default.yaml)
	@$(MLFLOW_RUN) -e train_gan

train-classifier: $(READY) ## train a classifier on hybrid data
	@$(MLFLOW_RUN) -e train_classifier -P mix=hybrid

study: $(READY) ## the study on the phantom: arms, sizes, seeds, one answer (configs/default.yaml: about 65 minutes)
	@$(MLFLOW_RUN) -e study

tune: $(READY) ## search lambda_gp and the synthetic fraction, confirm on fresh seeds (about 25 minutes)
	@$(MLFLOW_RUN) -e tune

compare: $(READY) ## arms and contrasts of the newest study, or every evaluated classifier
	@$(RUN) MLFLOW_TRACKING_URI=$(STORE) python src/compare.py

verify-models: $(READY) ## check every registered model version against its digests
	@$(RUN) MLFLOW_TRACKING_URI=$(STORE) python src/verify_models.py

# which model and version: make release NAME=nt-gan VERSION=3
NAME ?= nt-classifier
VERSION ?= @champion
release: $(READY) ## write a version's weights and digest to outputs/release (NAME=, VERSION=, KEY=<file> signs it)
	@$(RUN) MLFLOW_TRACKING_URI=$(STORE) python src/release.py --name "$(NAME)" --version "$(VERSION)" --signing_key "$(KEY)"

bench: $(READY) ## ours against plain reference loops, minutes on two quiet cores; writes outputs/bench.json
	@$(RUN) python benchmarks/run.py

gpu-smoke: $(READY) ## the chain twice on a GPU, about a minute: do both agree, how many images a second (docs/gpu.md)
	@$(RUN) python benchmarks/gpu_smoke.py

ui: $(READY) ## open the MLflow UI on this folder's store
	@echo "http://127.0.0.1:5000/#/experiments?workflowType=machine_learning  (Ctrl-C ends it)"
	@$(RUN) mlflow ui --backend-store-uri $(STORE) --host 127.0.0.1 --port 5000

test: $(READY) ## the test suite, under 10 minutes on two cores
	@$(RUN) OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile

test-slow: $(READY) ## the tests that take longer
	@$(RUN) OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile -m slow

lint: $(READY) ## ruff and mypy
	@$(BIN)/ruff check src tests benchmarks tools notebooks
	@$(BIN)/mypy

coverage: $(READY) ## the quick tests with the library's coverage, which must reach 90 %
	@$(RUN) OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --cov --cov-report=term

docs: $(READY) ## write the generated pages and build the site to outputs/site, strictly
	@$(RUN) python tools/write_docs.py
	@$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "outputs/site/index.html"

clean: ## remove caches (runs, outputs and .venv stay)
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.*
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
