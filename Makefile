# The two commands of the README are `make demo` and `make test`; the rest is for developers.
# Debian's own interpreter is preferred because jobs of other users must be able to read it.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV ?= .venv
comma := ,
# What the benchmarks compare with, in a virtual environment of its own; `make bench ORIGINAL=` goes without.
ORIGINAL ?= .original
# A real JupyterHub with its proxy for tests, in a virtual environment of its own.
JUPYTERHUB := .jupyterhub
# A real Prometheus for tests: Debian's package, unpacked and not installed, so that no service is started.
PROMETHEUS := .prometheus
BIN := $(VENV)/bin
# What the tests of Kerberos need is built on this machine, if it can be.
KERBEROS := $(if $(shell command -v krb5-config),$(comma)test-kerberos)
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test check lint types pytest wheel-check test-pythons test-lowest test-pbs install bench bench-slurm \
    soak fuzz fuzz-machine docs dashboard clean
.DEFAULT_GOAL := test

# ---- the two commands

demo: $(VENV)/.demo                       ## a gateway, a cluster, a computation; KEEP=1 leaves it running
	@$(BIN)/dask-gateway-server demo $(if $(KEEP),--keep)

test:                                     ## everything needed, then all tests (SLURM=0 declines the real Slurm)
	@PYTHON="$(PYTHON)" VENV="$(VENV)" MAKE="$(MAKE)" tests/run.sh

# ---- its parts

check: lint types pytest                  ## what `make test` runs once everything is installed

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --quiet tests/test_sizes.py tests/test_docstrings.py tests/test_import_graph.py

types: $(VENV)/.test
	$(BIN)/mypy

pytest: $(VENV)/.test                     ## ARGS="tests/web/test_api.py -k name" chooses
	rm -f .coverage .coverage.*
	$(if $(ARGS),$(BIN)/coverage run -m pytest $(ARGS),tests/side_by_side.sh $(BIN)/coverage run -m pytest)
	$(if $(ARGS),,$(BIN)/python -m tests.check_coverage)

wheel-check: $(VENV)/.test                ## a wheel is built, looked at, installed elsewhere, and runs the demo
	$(BIN)/python -m tests.packaging.wheel_check

test-pythons:                             ## demo and unit tests on each version of Python that is found here
	ARGS="$(ARGS)" tests/pythons.sh

test-lowest:                              ## the server with the oldest dependencies that setup.cfg admits
	PYTHON="$(PYTHON)" ARGS="$(ARGS)" tests/lowest.sh

test-pbs: $(VENV)/.test                   ## what concerns PBS; PBS_EXEC=/opt/pbs asks a real one
	$(if $(PBS_EXEC),$(BIN)/python -m tests.pbs.conditions)
	$(BIN)/python -m pytest tests/pbs tests/backends/pbs tests/contract tests/e2e/test_pbs.py \
	    -k "pbs and not slurm" $(ARGS)

# ---- for packages

install:                                  ## in Debian's folders, below DESTDIR (deploy/debian/README.md)
	@DESTDIR="$(DESTDIR)" PYTHON="$(PYTHON)" deploy/debian/install.sh

# ---- longer than a test may take

bench: export ORIGINAL_GATEWAY := $(if $(ORIGINAL),$(abspath $(ORIGINAL))/bin/dask-gateway-server)
bench: $(VENV)/.test $(ORIGINAL:=/.installed)   ## ratios to the original; fails on a miss
	$(BIN)/python -m tests.bench.relay --check
	$(BIN)/python -m tests.bench.load --check
	$(BIN)/python -m tests.bench.dashboards --check
	$(BIN)/python -m tests.bench.api $(if $(ORIGINAL),--check)
	$(BIN)/python -m tests.bench.api_metrics --check
	$(BIN)/python -m tests.bench.api_beside_relay --check
	$(BIN)/python -m tests.bench.crowd --check
	$(BIN)/python -m tests.bench.attacks --check
	$(BIN)/python -m tests.bench.logins --check
	$(BIN)/python -m tests.bench.pbs_poll --check
	$(BIN)/python -m tests.bench.launcher
	$(BIN)/python -m tests.bench.store

bench-slurm: $(VENV)/.test $(ORIGINAL:=/.installed)    ## what users wait for on the real Slurm; fails on a miss
	$(BIN)/python -m tests.bench.slurm_poll --slurm --check
	$(BIN)/python -m tests.bench.slurm_clusters --check $(if $(ORIGINAL),--original $(abspath $(ORIGINAL)))

soak: $(VENV)/.test                       ## minutes of random kills, of batch systems that are away
	SOAK_SECONDS=$(or $(FOR),600) $(BIN)/pytest -s --timeout 0 tests/proxy/test_soak.py
	SOAK_MINUTES=480 $(BIN)/pytest --timeout 0 tests/clusters/test_limits.py -k two_hundred_users
	$(BIN)/pytest -m soak

fuzz: $(VENV)/.test                       ## coverage-guided, FOR=600 seconds
	@$(PIP) install --editable '.[test,fuzz]'
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(FOR),600)

fuzz-machine: $(VENV)/.test               ## a cluster's decisions in a world of random events, FOR=600 seconds
	$(BIN)/python -m tests.fuzz.machine --seconds $(or $(FOR),600)

docs: $(VENV)/.test                       ## regenerate the manual of the options
	$(BIN)/python -m gateway.config.render > docs/configuration.md

dashboard: $(VENV)/.test                  ## regenerate the dashboard for Grafana
	$(BIN)/python deploy/grafana/dashboard.py > deploy/grafana/dask-gateway.json

clean:
	rm -rf $(VENV) $(ORIGINAL) $(JUPYTERHUB) $(PROMETHEUS) build dist *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.demo $(VENV)/.test: $(VENV)/.%: setup.cfg
	@echo "==> installing into $(VENV) (for make $*)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip 'setuptools>=77'
	@$(PIP) install --editable '.[$(if $(filter demo,$*),dask,test$(KERBEROS))]'
	@touch $@

$(ORIGINAL)/.installed:
	@echo "==> installing the original gateway into $(ORIGINAL)"
	@test -x $(ORIGINAL)/bin/python || $(PYTHON) -m venv $(ORIGINAL)
	@PYTHONWARNINGS=ignore $(ORIGINAL)/bin/python -m pip --quiet --disable-pip-version-check install \
	    'dask-gateway-server[local]==2026.3.0'
	@touch $@

$(JUPYTERHUB)/.installed:
	@echo "==> installing JupyterHub and its proxy into $(JUPYTERHUB)"
	@test -x $(JUPYTERHUB)/bin/python || $(PYTHON) -m venv $(JUPYTERHUB)
	@PYTHONWARNINGS=ignore $(JUPYTERHUB)/bin/python -m pip --quiet --disable-pip-version-check install 'jupyterhub==6.1.*'
	@npm install --silent --no-fund --no-audit --no-save --prefix $(JUPYTERHUB) configurable-http-proxy@5.1
	@touch $@

$(PROMETHEUS)/.installed:
	@echo "==> unpacking Debian's Prometheus into $(PROMETHEUS)"
	@mkdir -p $(PROMETHEUS)
	@cd $(PROMETHEUS) && rm -f *.deb && apt-get -qq -o APT::Sandbox::User=root download prometheus && dpkg-deb -x prometheus_*.deb . && rm *.deb
	@touch $@
