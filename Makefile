# What a developer or a newcomer runs. Every target does the set-up that it needs: a virtual environment in .venv.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help run test test-slow test-lowest demo bench interop bench-kernel lint types docs format clean

help:
	@echo "make run      run the server with config.toml (root); the first time with a new user and password"
	@echo "make test     run the tests; with root, those with real tunnels too"
	@echo "make test-slow  run those with whole processes, upgrades under traffic and a browser (root, chromium)"
	@echo "make test-lowest  run them with the oldest dependencies that are allowed"
	@echo "make demo     show a tunnel between two network namespaces (root)"
	@echo "make interop  dial in with Debian's pptp-linux and pppd on a User Mode Linux kernel (root)"
	@echo "make bench-kernel  TCP through poptop and both data paths on a kernel with PPTP (root)"
	@echo "make bench    measure speed, memory and many calls (root, gcc, libssl-dev, iperf3; some minutes)"
	@echo "make lint     ruff: rules and format      make types   mypy --strict"
	@echo "make format   let ruff format             make docs    regenerate reference pages and config.toml"

# The newest of the usual names that is 3.11 or later, with what a virtual environment needs.
PLUGINS := plugins/poptrio-radius plugins/poptrio-ldap plugins/poptrio-ntlm-auth

$(STAMP): pyproject.toml $(PLUGINS:%=%/pyproject.toml)
	@set -e; \
	for python in python3 python3.14 python3.13 python3.12 python3.11 none; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ "$$python" = none ]; then \
	    echo "poptrio needs Python 3.11 or later; on Debian 12: apt-get install python3 python3-venv" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; \
	    else \
	        echo "Python cannot make virtual environments here: as root, apt-get install python3-venv" >&2; exit 1; \
	    fi; \
	fi; \
	"$$python" -m venv $(VENV); \
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]' $(PLUGINS:%=--editable %); \
	touch $@

chap-secrets: | $(STAMP)
	@$(BIN)/poptrio secrets init $@ --user test

run: $(STAMP) chap-secrets
	@$(BIN)/poptrio run config.toml

# One process for each core; the tests of one file stay together, since they share back ends.
PYTEST_CORES := -n auto --maxprocesses 8 --dist loadfile

test: $(STAMP)
	@$(BIN)/pytest $(PYTEST_CORES) -m 'not slow'

test-slow: $(STAMP)
	@$(BIN)/pytest $(PYTEST_CORES) -m slow

# The same tests with the oldest dependencies that pyproject.toml allows; those that need root are left to `test`.
test-lowest: $(STAMP)
	@$(BIN)/python tests/lowest_versions.py > $(VENV)/lowest.txt
	@$(BIN)/python -m venv $(VENV)-lowest
	@$(VENV)-lowest/bin/pip install --quiet --disable-pip-version-check --constraint $(VENV)/lowest.txt --editable '.[test]' $(PLUGINS:%=--editable %)
	@$(VENV)-lowest/bin/pytest $(PYTEST_CORES) -m 'not root and not slow' --ignore tests/docs

demo: $(STAMP)
	@$(BIN)/python demo/tunnel.py

# With the system's Python where there is one: distributions build theirs with all optimisations.
BENCH_PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)

bench:
	@test -e $(VENV)-bench/.installed || { $(BENCH_PYTHON) -m venv $(VENV)-bench \
	    && $(VENV)-bench/bin/pip install --quiet --disable-pip-version-check --editable . && touch $(VENV)-bench/.installed; }
	@$(VENV)-bench/bin/python benchmarks/run.py $(if $(JSON),--json $(JSON)) $(if $(MARKDOWN),--markdown $(MARKDOWN)) $(if $(QUICK),--quick)

interop: $(STAMP)
	@$(BIN)/python tests/interop/run.py
	@$(BIN)/python tests/interop/run.py --datapath kernel

bench-kernel: $(STAMP)
	@$(BIN)/python benchmarks/kernel_datapath.py

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy --strict

docs: $(STAMP)
	@for generator in docs/generate_*.py; do $(BIN)/python $$generator || exit 1; done

format: $(STAMP)
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VENV)-lowest *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
