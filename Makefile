# Works on a machine that has only make and python3 (3.11 to 3.13): the first target you
# call builds .venv from the pinned versions; no environment has to be activated, ever.

SHELL  := bash
PYTHON ?= python3
PY     := .venv/bin/python
# The stamp of a finished set-up: as long as it is newer than what it was made from,
# nothing is installed again.
READY  := .venv/ready
# The environment in which more than one engine runs under Keras.
BACKENDS := .venv-backends
# What a person would watch (bars, timings) stays out of tests, and so do TensorFlow's logs;
# runs that a notebook starts on its own go where they are looked for after a failure.
QUIET  := TUTORIALS_UNATTENDED=1 TF_CPP_MIN_LOG_LEVEL=3 TUTORIALS_RUNS=$(CURDIR)/artifacts/runs
PYTEST := $(QUIET) $(PY) -m pytest
# Reads the runs that nbval has just made, so that no notebook runs twice.
SAMPLE := tests/test_sample_run.py
# Shows and keeps what a command prints; the command's own failure still counts.
LOGGED  = 2>&1 | tee artifacts/$@.log; exit $${PIPESTATUS[0]}

.DEFAULT_GOAL := help
.PHONY: help run test test-backends check lint unit fast nbval lab notebooks expected docs bench badges lock newest clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

run: $(READY)  ## every tutorial on the embedded sample data: a table, and an HTML report
	$(PY) -m helpers run all --overwrite --output runs/sample

test: lint unit nbval  ## everything: style, types, all tests, the notebooks' outputs

check: lint fast  ## the fast lane, under two minutes: style, types, unit tests

lint: $(READY) artifacts
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
	$(PY) -m tools.notebooks --check && $(PY) -m tools.docs --check

fast: $(READY) artifacts
	$(PYTEST) -m "not slow and not realdata" --junitxml=artifacts/$@.xml $(LOGGED)

unit: $(READY) artifacts
	$(PYTEST) --ignore=$(SAMPLE) --junitxml=artifacts/$@.xml --session-timeout=3000 $(LOGGED)

# tools.keep writes a notebook's fresh outputs to artifacts/notebooks when one of them differs.
# The tests of the sample's figures come last: they read what these runs have left.
nbval: $(READY) artifacts
	@rm -rf artifacts/runs artifacts/notebooks
	TUTORIALS_SAMPLE_RUNS=$(CURDIR)/artifacts/runs $(PYTEST) -p tools.keep --nbval --nbval-current-env --nbval-sanitize-with nbval.ini notebooks $(SAMPLE) --junitxml=artifacts/$@.xml --session-timeout=3000 $(LOGGED)

# PyTorch takes part where you have installed it: .venv-backends/bin/python -m uv pip install torch
test-backends: $(BACKENDS)/ready  ## all tests and notebooks on each backend that is installed, compared
	$(BACKENDS)/bin/python -m tools.backends

lab: $(READY)  ## open the notebooks in JupyterLab
	$(PY) -m jupyterlab --notebook-dir=notebooks

notebooks: $(READY)  ## run the notebooks again and store their outputs
	$(PY) -m tools.notebooks

expected: $(READY)  ## rewrite tests/expected from a fresh sample run, for a reviewed diff
	$(PY) -m helpers run all --overwrite --output artifacts/expected && $(PY) -m tools.expected artifacts/expected

docs: $(READY)  ## rewrite what is generated from the registry and the schema
	$(PY) -m tools.docs

bench: $(READY)  ## measure the input pipeline beside that of Keras: a table for the README
	$(PY) -m benchmarks.input_pipeline --readme

badges: $(READY)  ## Colab and Binder badges: make badges REPOSITORY=owner/name
	@$(PY) -m tools.badges "$(REPOSITORY)"

# --universal: one lock for every system and Python 3.11 to 3.13; no address is written into it.
LOCK := uv pip compile --universal --python-version 3.11 --system-certs --upgrade --no-emit-index-url --no-emit-find-links --no-annotate --no-header --generate-hashes --quiet --output-file
# The second lock holds what JAX needs besides, at the versions that the first one has.
lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	$(PY) -m $(LOCK) requirements.lock --extra test pyproject.toml
	$(PY) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['jax'], sep='\n')" | $(PY) -m $(LOCK) requirements-backends.lock --constraints requirements.lock -

# The lock is ignored on purpose: the weekly run on GitHub sees breakage before a reader does.
newest: $(READY)  ## replace the pinned versions in .venv by the newest allowed ones
	$(PY) -m uv pip install --python $(PY) --system-certs --upgrade --editable '.[test]' && touch $(READY)

clean:  ## remove what make run and the tests left (.venv, data/ and your other runs stay)
	rm -rf runs/sample artifacts build *.egg-info .pytest_cache .mypy_cache .ruff_cache

artifacts:
	@mkdir -p artifacts

# The version is asked for in words that every Python understands, even Python 2.
$(READY) $(BACKENDS)/ready: pyproject.toml tools/set_up.py requirements.lock
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON) here. Python 3.11, 3.12 or 3.13 is needed: name one, as in  make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else 'Python 3.11, 3.12 or 3.13 is needed and $(PYTHON) is %d.%d: name another one, as in  make run PYTHON=python3.12' % v)"
	@$(PYTHON) tools/set_up.py $(@D) $(filter %.lock,$^)

$(BACKENDS)/ready: requirements-backends.lock
