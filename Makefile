# All targets use .venv. It is created with python3 if it is missing, and updated when pyproject.toml or setup.py changes.
# .venv holds an editable, uncompiled installation. The compiled package is built and tested in a copy, build/compiled, so that no
# compiled module can be older than its source.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BIND ?= 127.0.0.1:8080
PYTEST_ARGS ?=
BENCH_ARGS ?=
BENCH_OUT ?= build/bench
COPY := build/compiled
SOURCES := setup.py $(shell find wsgi_proxy -name '*.py')
WHOLE := $(filter-out %/test_soak.py %/test_recipes.py %/test_command.py %/test_hostile_requests.py, \
    $(shell grep -rl --include='test_*.py' run_proxy tests))
IN_COPY := cd $(COPY) && PYTHONPATH=$(CURDIR)/$(COPY) exec $(CURDIR)/$(BIN)/python -m

.PHONY: demo test test-source test-gthread test-gevent test-matrix lint docs reference bench clean copy kubernetes-tools

# Six echo servers behind the proxy, until Ctrl-C. BIND=127.0.0.1:9090 chooses another address.
# The address is checked before anything is installed.
demo:
	@$(PYTHON) wsgi_proxy/cli/address.py $(BIND)
	@$(MAKE) --no-print-directory $(VENV)/.run
	@exec $(BIN)/wsgi-proxy demo --bind $(BIND)

# The whole suite on the compiled package, as an installation makes it (pure Python without a C compiler).
# PYTEST_ARGS="-k name" selects a part.
test: $(VENV)/.test copy
	@$(IN_COPY) pytest -n 4 --dist worksteal $(PYTEST_ARGS)

# The whole suite on the source, without compiling.
test-source: $(VENV)/.test
	@exec $(BIN)/python -m pytest -n 4 --dist worksteal $(PYTEST_ARGS)

# All tests that run a whole proxy, under gunicorn's own workers.
test-gthread test-gevent: test-%: $(VENV)/.test copy
	@export WORKER_CLASS=$*; $(IN_COPY) pytest -q -n 4 --dist worksteal $(PYTEST_ARGS) $(WHOLE)

# All combinations of protocol, worker class, storage, framing, size and pause (several minutes). `make test` runs a subset.
test-matrix: $(VENV)/.test copy
	@export MATRIX=whole; $(IN_COPY) pytest -q -n 2 -rP --dist worksteal $(PYTEST_ARGS) tests/e2e/test_matrix.py

# Lint, formatting and types, as in continuous integration.
lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation site in build/docs. A broken link or reference is an error.
docs: $(VENV)/.docs
	$(BIN)/zensical build --strict --clean

# docs/configuration.md, from the table of directives.
reference: $(VENV)/.run
	@mkdir -p build
	$(BIN)/python -m wsgi_proxy.nginx.directives >build/reference.md && mv build/reference.md docs/configuration.md

# helm and kubectl beside Python, without which the tests that render deploy/kubernetes are skipped.
kubernetes-tools: $(BIN)/helm

$(BIN)/helm: .ci/kubernetes-tools | $(BIN)/python
	.ci/kubernetes-tools $(BIN)/python $(BIN)

# Measure nginx, HAProxy, Envoy, Caddy, Traefik, this proxy and proxies in Python side by side, in at most 15 minutes.
# BENCH_ARGS="--only http2,varied --contenders nginx,wsgi_proxy" selects a part; BENCH_OUT=bench updates bench/RESULTS.md.
bench: $(VENV)/.bench copy
	@$(IN_COPY) bench --out $(abspath $(BENCH_OUT)) $(BENCH_ARGS)

clean:
	rm -rf $(VENV) build dist .cache *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Update everything in the copy but the compiled modules. If a source has changed, the copy is compiled anew.
copy: $(COPY)/.compiled
	@tar cf - --exclude=./build --exclude=./.[a-z]*cache --exclude=./$(VENV) --exclude=./.git --exclude=__pycache__ . | tar xf - -C $(COPY)

$(COPY)/.compiled: $(SOURCES) | $(VENV)/.test
	@rm -rf $(COPY) && mkdir -p $(COPY)
	@cp -r wsgi_proxy setup.py pyproject.toml README.md LICENSE $(COPY)
	@cd $(COPY) && $(CURDIR)/$(BIN)/python setup.py --quiet build_ext --inplace >build.log 2>&1 || { cat build.log; exit 1; }
	@grep '^wsgi_proxy:' $(COPY)/build.log || true
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml setup.py | $(BIN)/python
	WSGI_PROXY_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: pyproject.toml setup.py | $(BIN)/python
	WSGI_PROXY_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml setup.py | $(BIN)/python
	WSGI_PROXY_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml setup.py | $(BIN)/python
	WSGI_PROXY_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@ $(VENV)/.run
