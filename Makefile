# Two commands: `make demo` and `make test`. Everything lives in ./.venv and in COCOON_HOME.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
ARGS ?=
CAMPAIGN ?= .campaign

.PHONY: help demo test lint format bench campaign contract clean

help:  ## List the targets.
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | sort

demo:  ## Pull a model, start a devnet and a provider, buy one answer, redeem it.
	@bash scripts/venv.sh demo
	@$(PY) -m cocoon_sdk.cli demo $(ARGS)

test:  ## Run the whole test suite (ARGS="-k handshake" narrows it).
	@bash scripts/venv.sh dev
	@$(PY) -m pytest -n $${COCOON_TEST_WORKERS:-2} --dist loadgroup $(ARGS)

lint:  ## ruff, mypy --strict, import-linter, file sizes.
	@bash scripts/venv.sh dev
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PY) scripts/check_sizes.py

format:  ## Rewrite the sources in the project's style.
	@bash scripts/venv.sh dev
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

bench:  ## Run the benchmarks (ratios against named peers).
	@bash scripts/venv.sh dev
	@$(PY) -m benchmarks $(ARGS)

campaign:  ## The long runs behind the seeded slices of `make test` (COCOON_FUZZ_SECONDS for each parser); results in .campaign.
	@bash scripts/venv.sh dev
	@COCOON_CAMPAIGN=1 $(PY) -m pytest -n $${COCOON_TEST_WORKERS:-2} --dist loadgroup --timeout 3600 tests/contract $(ARGS)
	@PYTHONPATH=tests $(PY) -m fuzz.campaign --out $(CAMPAIGN)/fuzz
	@PYTHONPATH=tests $(PY) -m campaign.mutate --out $(CAMPAIGN)/mutants

contract:  ## Rebuild the channel contract from Tolk (needs node) and print its code hash.
	@bash scripts/venv.sh dev
	@$(PY) scripts/build_contract.py $(ARGS)

clean:  ## Remove the virtual environment and build leftovers.
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
