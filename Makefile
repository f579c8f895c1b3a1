# What a person does with a checkout of sgehub. `make help` lists it.
#
# Nothing is installed into the checkout: the virtual environment and the proxy live below BASE, a folder that every
# user may read, because the people of the demo's cluster run from it. BASE is derived from the checkout's path, so that
# two checkouts do not share one.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

PORT := 8000
ARGS :=

# pwd -P and not CURDIR: the path may hold spaces and quotes, and one checkout has one folder however it is reached.
CHECKOUT_ID := $(shell pwd -P | tr -d '\n' | sha256sum | cut -c1-8)
IS_ROOT := $(filter 0,$(shell id -u))
CACHE := $(if $(IS_ROOT),/var/cache,$(or $(XDG_CACHE_HOME),$(HOME)/.cache))
BASE := $(CACHE)/sgehub/$(CHECKOUT_ID)
VENV := $(BASE)/venv

ifneq ($(words $(BASE)),1)
$(error BASE is "$(BASE)", but must be one path without a space: run `make BASE=/some/folder ...`)
endif
ifeq ($(filter /%,$(BASE)),)
$(error BASE is "$(BASE)", but must be an absolute path, as in `make BASE=/some/folder ...`)
endif

export SGEHUB_VENV := $(VENV)
# Settings of the caller's Python that would slow the sessions down or lead to other libraries.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile
	@echo; printf '%s\n' \
	  'PORT=9000        the demo listens there instead of 8000' \
	  'ARGS="..."       further arguments for pytest (test, check), for the benchmark (bench) or the histories (soak)' \
	  'BASE=/folder     keeps the virtual environment there instead of $(BASE)'

.PHONY: deps
deps: root ## install what is missing: Debian packages, virtual environment, proxy (root)
	@scripts/deps all '$(BASE)'

.PHONY: demo
demo: root namespaces deps ## start a Grid Engine cluster with JupyterHub on this machine; Ctrl-C ends it (root)
	@exec '$(VENV)/bin/sgehub' demo --port '$(PORT)'

.PHONY: demo-stop
demo-stop: root ## end the demo from another terminal (root)
	@if [ -x '$(VENV)/bin/sgehub' ]; then exec '$(VENV)/bin/sgehub' demo --stop; \
	  else echo 'No demo of this checkout was ever started: there is no $(VENV).'; fi

.PHONY: test
test: root namespaces deps ## run all tests: units, a real Grid Engine, a real browser (root)
	@exec '$(VENV)/bin/python' -m tests.side_by_side $(ARGS)

.PHONY: check
check: install format-is-kept lint types units manual ## format, lint, types, unit tests, docs; needs no root and no Grid Engine

.PHONY: bench
bench: root namespaces deps ## measure against stock batchspawner on the same cluster (root)
	@exec '$(VENV)/bin/python' bench/run.py $(ARGS)

.PHONY: soak
soak: install ## play 100,000 random histories of hub and cluster; ARGS="5000" for fewer; needs no root
	@exec '$(VENV)/bin/python' -m tests.model.soak $(ARGS)

.PHONY: docs
docs: install manual ## build the documentation into docs/_build/html
	@echo 'Open docs/_build/html/index.html'

.PHONY: format
format: install ## format the sources and mend what the linter can mend
	'$(VENV)/bin/ruff' format .
	'$(VENV)/bin/ruff' check --fix-only .

.PHONY: constraints
constraints: ## record today's versions of all libraries in constraints.txt
	@scripts/deps freeze '$(BASE)'

.PHONY: clean
clean: ## remove what make made, here and in BASE; Debian packages stay
	@scripts/deps clean '$(BASE)'
	@rm -rf docs/_build build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Below: steps of others, not listed by help. `make -k check` takes them all, also when one fails.

.PHONY: format-is-kept lint types units manual
format-is-kept:
	'$(VENV)/bin/ruff' format --check .
lint:
	'$(VENV)/bin/ruff' check .
types:
	'$(VENV)/bin/mypy'
units:
	'$(VENV)/bin/python' -m pytest tests/unit $(if $(IS_ROOT),,-m 'not root') $(ARGS) </dev/null
manual:
	'$(VENV)/bin/sphinx-build' -q -W -n --keep-going docs docs/_build/html

.PHONY: install
install:
	@scripts/deps venv '$(BASE)'

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo 'make $(firstword $(MAKECMDGOALS)) needs root, for Debian packages and for the' \
	  'namespaces that the hosts of the cluster are made of. Run it with sudo; `make check` needs no root.' >&2; exit 1; }

.PHONY: namespaces
namespaces:
	@unshare --net --uts --pid --mount --fork true 2>/dev/null || { echo 'This machine does not let root make network,' \
	  'PID and mount namespaces, which the cluster of the demo is made of. A container needs --privileged for it;' \
	  'a virtual machine just works.' >&2; exit 1; }
