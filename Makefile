# Two commands: `make train` trains with the embedded default, `make test` runs the tests. Both make .venv when missing.
# ARGS go on to the command: make train ARGS="estimator=grpo seed=1", make test ARGS="-k store". The tests run on all
# cores, a process each, so each gets one thread.
PYTHON ?= python3
VENV ?= .venv

.PHONY: train test
train: $(VENV)/installed
	$(VENV)/bin/gapo train $(ARGS)

test: $(VENV)/installed-for-tests
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal $(ARGS)

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --editable .
	touch $@

$(VENV)/installed-for-tests: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --editable ".[test]"
	touch $(VENV)/installed $@

# verl itself on Ray, in an environment of its own: minutes, and 2 GB to download.
.PHONY: test-verl
test-verl:
	.ci/verl

# The shipped weights of model=nano from nothing, about 40 minutes of one core; docs/background/nano.md says what each run is.
.PHONY: bases
bases: $(VENV)/installed
	for run in nano_1_trunk nano_2_anneal nano_3_clean nano_3_noisy; do $(VENV)/bin/gapo train experiment=$$run || exit 1; done
