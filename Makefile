# Two commands for users: `make run` and `make test`. Both set the environment up first.
.DEFAULT_GOAL := help
PYTHON3 ?= python3
BIN := .venv/bin
# Never upgrades what is locked already; `make lock UPGRADE=--upgrade` does.
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.10 --generate-hashes \
	--custom-compile-command "make lock" $(UPGRADE)
# Modules that import one of these are left out of type checking: they have no usable types.
UNTYPED := '^ *(from|import) (tfx|tensorflow[a-z_]*|keras|ml_metadata|apache_beam)([. ]|$$)'
TYPED := 'common/*.py' 'components/*.py' 'pipeline/*.py' 'schemas/*.py' 'scripts/*.py' 'serving/*.py' \
	'*_runner.py'

.PHONY: help setup run test test-fast soak lint format types docs lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make or update .venv (SETUP="--line 1.16" forces a line)
	@$(PYTHON3) scripts/setup_env.py $(SETUP)

run: setup ## Run the pipeline on the next span of data (ARGS="--help" lists the options)
	@$(BIN)/python local_runner.py $(ARGS)

test: setup ## Run every test (ARGS is passed on to pytest)
	@$(BIN)/python -m pytest $(ARGS)

test-fast: setup ## Run the tests that take seconds
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

soak: setup ## Kill every command at random moments, 208 times
	@TFX_FEEDER_TEST_SOAK_ROUNDS=8 $(BIN)/python -m pytest -v tests/e2e/test_soak.py $(ARGS)

lint: setup ## Check style
	@$(BIN)/ruff check --no-cache . && $(BIN)/ruff format --no-cache --check .

format: setup ## Mend style
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: setup ## Check the types of the plain modules
	@$(BIN)/pyright $$(git grep -L -E $(UNTYPED) -- $(TYPED))

docs: setup ## Build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/uv run --quiet --isolated --no-project --python $(BIN)/python \
		--with-requirements requirements/docs.txt mkdocs build --quiet --strict $(ARGS)

lock: ## Resolve the locks of both TFX lines and of the documentation anew
	$(COMPILE) --python-platform x86_64-unknown-linux-gnu \
		-o requirements/tfx-1.16.txt requirements/tfx-1.16.in
	$(COMPILE) --universal -o requirements/tfx-1.21.txt requirements/tfx-1.21.in
	$(COMPILE) --universal -o requirements/docs.txt requirements/docs.in

clean: ## Remove what was built, cached or installed (not the runs)
	rm -rf .venv build dist site .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +
