# `make run` and `make test` need only python3, venv, make, and a compiler: they set up .venv/ themselves.
PYTHON ?= python3
LOCKS := $(wildcard requirements/tfx-*.lock)
VENV := .venv
UV := .uv/bin/uv
STAMP := $(VENV)/.complete
# MkDocs has its own environment, so that it never changes what runs with TFX.
DOCS := .docs
AXE_CORE ?= build/axe-core/package/axe.min.js

define require_python
	@command -v $(PYTHON) >/dev/null || { echo "edgemill: '$(PYTHON)' is not on PATH; install Python 3.10 or 3.11, or name one: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) requirements/choose_lock.py >/dev/null
endef

.DEFAULT_GOAL := help
.PHONY: help setup run run-anomaly run-detector run-segmentation run-transcriber test test-fast test-beam test-examples test-own-models test-arm test-metadata test-next-generation test-registries test-key-services check docs reference format install-hooks wheel test-serve test-wheel lock benchmark zoo image containers clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Install the hash-locked requirements of this machine's generation of TFX into .venv/

# Without compiled bytecode, `import tensorflow` takes 25 s instead of 5 s where PYTHONDONTWRITEBYTECODE is set.
$(STAMP): $(LOCKS) pyproject.toml requirements/choose_lock.py | $(UV)
	$(require_python)
	rm -rf $(VENV)
	$(UV) venv --quiet --no-python-downloads --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	$(UV) pip sync --quiet --compile-bytecode --python $(VENV)/bin/python --require-hashes "$$($(PYTHON) requirements/choose_lock.py)"
	$(UV) pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	touch $@

$(UV):
	$(require_python)
	$(PYTHON) -m venv .uv
	.uv/bin/pip --quiet --disable-pip-version-check install uv

run: setup ## Train, optimize, evaluate, gate, and push the embedded example
	$(VENV)/bin/edgemill run pipelines/fashion_mnist/pipeline.yaml

run-anomaly: setup ## Run the anomaly detector for a smartwatch (pipelines/anomaly/)
	$(VENV)/bin/edgemill run pipelines/anomaly/pipeline.yaml

run-detector: setup ## Run the detector with two outputs (pipelines/detector/)
	$(VENV)/bin/edgemill run pipelines/detector/pipeline.yaml

run-segmentation: setup ## Run the segmentation network (pipelines/segmentation/)
	$(VENV)/bin/edgemill run pipelines/segmentation/pipeline.yaml

run-transcriber: setup ## Run the transcriber with an LSTM and CTC (pipelines/transcriber/)
	$(VENV)/bin/edgemill run pipelines/transcriber/pipeline.yaml

check: setup docs ## Check lint, format, words, types, that docs/reference/ is up to date, and the documentation site
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/codespell
	$(VENV)/bin/mypy
	$(VENV)/bin/python docs/reference/generate.py --check

docs: $(DOCS)/.complete ## Build the documentation site into build/docs/, and fail at a broken link
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

$(DOCS)/.complete: requirements/docs.lock | $(UV)
	rm -rf $(DOCS)
	$(UV) venv --quiet --no-python-downloads --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(DOCS)
	$(UV) pip sync --quiet --python $(DOCS)/bin/python --require-hashes requirements/docs.lock
	touch $@

reference: setup ## Regenerate docs/reference/ from the schemas and the command line
	$(VENV)/bin/python docs/reference/generate.py

# Each process computes in one thread and waits for its child processes, so three of them keep two cores busy. A process needs up to 4 GB. --dist loadfile keeps what the tests of a file share in one process. A test that ends its process, or hangs, would be run again in every new process.
test: setup ## Run the complete test suite
	$(VENV)/bin/pytest --numprocesses 3 --dist loadfile --max-worker-restart 0 --durations 25

test-fast: setup ## Run the tests that need neither TensorFlow nor TFX (under two minutes)
	$(VENV)/bin/pytest --fast --numprocesses 2 --dist loadfile

test-own-models: setup ## Run the tutorials about own images, sounds, tables, and arrays, from files to releases (about 4 minutes)
	PYTHON=$(VENV)/bin/python tests/own_models.sh

test-arm: setup ## Compare LiteRT on aarch64 under qemu with this machine's runtimes (Debian; about a minute)
	tests/arm64.sh

test-metadata: setup ## Test metadata on real MariaDB and PostgreSQL servers (Debian: mariadb-server, postgresql)
	$(VENV)/bin/pytest -o faulthandler_timeout=3600 tests/servers/metadata_servers.py

test-examples: setup ## Run the long examples and check their figures (about 25 minutes)
	EDGEMILL_TEST_DATA="$(DATA)" $(VENV)/bin/pytest -rs -s -o faulthandler_timeout=3600 tests/examples/activity.py tests/examples/digits.py tests/examples/hard_channels.py tests/examples/models.py

test-next-generation: ## Run setup and the complete test suite on TFX 1.21 in a Debian 13 root (needs root and debootstrap)
	tests/next_generation.sh

test-beam: setup ## Test runs in Beam's worker processes and in a worker pool behind its job service
	$(VENV)/bin/pytest -o faulthandler_timeout=3600 tests/servers/beam_processes.py tests/servers/beam_services.py

test-registries: setup ## Kill pushes, changes, and collections in every kind of registry, thousands of times (about 30 minutes)
	$(VENV)/bin/pytest --numprocesses 2 --dist worksteal --durations 10 --junitxml build/registries.xml -o faulthandler_timeout=3600 tests/servers/registries.py

test-key-services: setup ## Sign through the clients of Google, Microsoft, and HashiCorp, with their services as servers of this machine
	$(UV) venv --quiet --allow-existing --python $(VENV)/bin/python build/key-services
	$(UV) pip install --quiet --python build/key-services/bin/python 'securesystemslib[crypto,azurekms,gcpkms,vault]==1.6.0' tuf==6.0.0 pydantic pytest
	PYTHONPATH=. build/key-services/bin/python -m pytest -q -c /dev/null --rootdir=. --noconftest -p no:cacheprovider tests/servers/key_services.py

install-hooks: setup ## Check each commit before it is made (.githooks/pre-commit)
	git config core.hooksPath .githooks

wheel: setup ## Build the wheel into build/dist/
	rm -rf build/lib
	$(VENV)/bin/python -c "from setuptools import build_meta; print(build_meta.build_wheel('build/dist'))"

test-wheel: setup ## Install the wheel and the locked packages into fresh environments, and run a pipeline there (about 3 minutes)
	tests/fresh_wheel.sh

test-serve: setup $(AXE_CORE) ## Test the results page in Chromium, with axe-core from npm for accessibility
	AXE_CORE="$(AXE_CORE)" $(VENV)/bin/pytest -rs tests/servers/test_results_page.py

$(AXE_CORE):
	mkdir -p build/axe-core
	cd build/axe-core && npm pack --silent axe-core@4.14.1 && tar -xzf axe-core-4.14.1.tgz

format: setup ## Format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

benchmark: setup ## Measure the figures in docs/benchmarks.md (about half an hour)
	$(VENV)/bin/python benchmarks/sampling.py
	$(VENV)/bin/python benchmarks/evaluation.py
	$(VENV)/bin/python benchmarks/pipeline.py
	$(VENV)/bin/python benchmarks/sparsity.py
	$(VENV)/bin/python benchmarks/combinations.py
	$(VENV)/bin/python benchmarks/examples.py
	$(VENV)/bin/python -m benchmarks.registry

zoo: setup ## Run 213 small models of all kinds through every recipe, or continue an interrupted run (about an hour)
	$(VENV)/bin/python -m benchmarks.zoo --resume

image: ## Build the container image (see kubeflow/build_image.sh --help)
	kubeflow/build_image.sh

containers: setup ## Run a complete compiled pipeline under kfp's local Docker runner (DEBOOTSTRAP=1 pulls no image)
	tests/kubeflow/containers.sh

LOCK_OPTIONS := --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url

lock: $(UV) ## Resolve requirements/*.in for all supported Pythons (hashes only, no URLs)
	$(UV) pip compile $(LOCK_OPTIONS) --python-version 3.10 --override requirements/tfx-1.16.overrides requirements/tfx-1.16.in -o requirements/tfx-1.16.lock
	$(UV) pip compile $(LOCK_OPTIONS) --no-config --python-version 3.12 requirements/tfx-1.21.in -o requirements/tfx-1.21.lock
	$(UV) pip compile $(LOCK_OPTIONS) --no-config --python-version 3.10 requirements/docs.in -o requirements/docs.lock

clean: ## Remove the files of runs and setup
	rm -rf build $(VENV) $(DOCS) .uv
