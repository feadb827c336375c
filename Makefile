# Everything a user needs: `make run` and `make test` set themselves up on a machine with python3, venv, make and a compiler.
PYTHON ?= python3
LOCK := requirements/tfx-1.16.lock
VENV := .venv
UV := .uv/bin/uv
STAMP := $(VENV)/.complete

define require_python
	@command -v $(PYTHON) >/dev/null || { echo "edgemill: '$(PYTHON)' is not on PATH; install Python 3.10 or 3.11, or name one: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' || { echo "edgemill: '$(PYTHON)' is $$($(PYTHON) --version 2>&1), but TFX 1.16 needs Python 3.10 or 3.11; name one: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "edgemill: '$(PYTHON)' has no venv module; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
endef

.DEFAULT_GOAL := help
.PHONY: help setup run test test-beam test-metadata check format lock benchmark image containers clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Fill .venv/ from the hash-locked requirements

$(STAMP): $(LOCK) pyproject.toml | $(UV)
	$(require_python)
	rm -rf $(VENV)
	$(UV) venv --quiet --no-python-downloads --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	$(UV) pip sync --quiet --python $(VENV)/bin/python --require-hashes $(LOCK)
	$(UV) pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	touch $@

$(UV):
	$(require_python)
	$(PYTHON) -m venv .uv
	.uv/bin/pip --quiet --disable-pip-version-check install uv

run: setup ## Train, optimize, evaluate, gate and push the embedded example
	$(VENV)/bin/edgemill run pipelines/fashion_mnist/pipeline.yaml

check: setup ## Lint, format check, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: setup ## Run the whole test suite
	$(VENV)/bin/pytest

test-metadata: setup ## Test metadata on real MariaDB and PostgreSQL servers (Debian: mariadb-server, postgresql)
	$(VENV)/bin/pytest tests/servers/metadata_servers.py

test-beam: setup ## Test a whole run on Beam's job service with an external worker pool
	$(VENV)/bin/pytest tests/servers/beam_services.py

format: setup ## Format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

benchmark: setup ## Measure the figures that the README gives (about half an hour)
	$(VENV)/bin/python benchmarks/sampling.py
	$(VENV)/bin/python benchmarks/evaluation.py
	$(VENV)/bin/python benchmarks/pipeline.py
	$(VENV)/bin/python benchmarks/sparsity.py
	$(VENV)/bin/python benchmarks/combinations.py
	$(VENV)/bin/python benchmarks/examples.py

image: ## Build the container image (see kubeflow/build_image.sh --help)
	kubeflow/build_image.sh

containers: setup ## Run a compiled pipeline whole under kfp's local Docker runner (DEBOOTSTRAP=1 pulls no image)
	tests/kubeflow/containers.sh

lock: $(UV) ## Resolve requirements/*.in anew for Python 3.10 and 3.11 (hashes only, no addresses)
	$(UV) pip compile --quiet --universal --python-version 3.10 --override requirements/tfx-1.16.overrides --generate-hashes --no-header --no-annotate --no-emit-index-url requirements/tfx-1.16.in -o $(LOCK)

clean: ## Remove what runs and set-up made
	rm -rf build $(VENV) .uv
