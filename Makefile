# One entry for everything. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
DATASET ?= phantom
PROFILE ?= demo
CLASSES ?=
SUBJECTS ?=
export DATASET PROFILE CLASSES SUBJECTS
BENCH ?=
FAULTS ?=
BIN := .venv/bin
SMOKE := artifacts/smoke
# no progress bars and no dates in what notebooks show, as when mri-aug runs them
KERNEL := TQDM_DISABLE=1 SOURCE_DATE_EPOCH=315532800 PYTHONHASHSEED=0

.PHONY: help book pdf test test-library test-book thorough bench faults lab lint house sync lock clean

help:  ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make book|pdf DATASET=phantom|<hub id>|<folder> PROFILE=smoke|demo|thesis   (default: $(DATASET), $(PROFILE))'
	@echo '  CLASSES=CN,MCI,AD names the classes of your own images, least severe first; SUBJECTS= says who is in them.'
	@echo '  PYTHON=python3.12 chooses the Python (3.11 or newer) that the environment is made with.'

book: .venv/installed  ## Run the study and the notebooks, then draw the book
	$(BIN)/mri-aug book --dataset "$$DATASET" --profile "$$PROFILE" --classes "$$CLASSES" --subjects "$$SUBJECTS"

pdf: .venv/installed  ## The same book typeset as a thesis, by LaTeX; what the book has run is not run again
	$(BIN)/mri-aug book --pdf --dataset "$$DATASET" --profile "$$PROFILE" --classes "$$CLASSES" --subjects "$$SUBJECTS"

test: .venv/installed lint  ## Check the style; test the library, the notebooks (run twice, outputs compared) and the book
	@$(MAKE) --no-print-directory --jobs=2 test-library test-book

# side by side, one core each, on which sums come out the same; what the book's part says is shown in one piece at its end
test-library test-book: export OMP_NUM_THREADS = 1
test-library:
	$(BIN)/python -m pytest --doctest-modules tests mri_aug

test-book:
	mkdir -p artifacts
	{ $(BIN)/mri-aug book --profile smoke --output $(SMOKE) && \
	  $(KERNEL) $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg \
	    -p no:cacheprovider $(SMOKE)/executed/notebooks; } > $(SMOKE).log 2>&1 || failed=1; \
	cat $(SMOKE).log; exit $${failed:-0}

thorough: .venv/installed  ## The tests that `make test` leaves out: two hours of training networks
	$(BIN)/python -m pytest -m slow tests

bench: .venv-bench/installed  ## Measure speed beside other frameworks, on an idle machine (BENCH='--only throughput')
	.venv-bench/bin/python -m benchmarks.run --dataset '$(DATASET)' $(BENCH)

faults: .venv/installed  ## Kill, starve and mislead the library for half an hour (FAULTS='--scale 0.1 --seed 1')
	$(BIN)/python -m benchmarks.faults $(FAULTS)

lab: .venv/installed  ## Open the notebooks in JupyterLab, each paired with its .py
	$(BIN)/jupyter lab notebooks

lint: .venv/installed  ## Check the style of the code, notebooks included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

house: .venv/installed  ## Print rooms, files, lines and public names of the library
	@$(BIN)/python -m tests.house

sync: .venv/installed  ## Bring each notebook and its .py to the newer of the two
	$(BIN)/jupytext --sync notebooks/*.ipynb

lock: .venv/installed  ## Move every package to its newest allowed version and write constraints.txt
	$(PYTHON) -m venv --clear artifacts/lock
	artifacts/lock/bin/python -m pip install --quiet -e '.[test]'
	{ sed -n '/^#/p' constraints.txt; artifacts/lock/bin/python -m pip freeze --exclude-editable \
	  | grep -E '^[A-Za-z0-9_.-]+=='; } > artifacts/constraints.txt
	mv artifacts/constraints.txt constraints.txt
	rm -rf artifacts/lock

clean:  ## Remove the environments and all under artifacts, finished simulations too, but not the bank of bought images
	rm -rf .venv .venv-bench
	! test -d artifacts || find artifacts -mindepth 1 -maxdepth 1 ! -name bank -exec rm -rf {} +

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

# A framework that cannot be installed is left out here, and the benchmarks' table says that it is missing.
.venv-bench/installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet -c constraints.txt -e .
	grep -v '^#' benchmarks/requirements.txt | while read -r framework; do \
	  .venv-bench/bin/python -m pip install --quiet -c constraints.txt "$$framework" \
	    || echo "make bench: $$framework could not be installed" >&2; done
	touch $@
