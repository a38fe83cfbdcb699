# Everything runs in .venv, which is made from the pinned requirements and made again when they change.
#
#   make demo    set up, then three regions fit a Cox model; needs Python >= 3.11 and nothing else
#   make test    set up, then all tests
#   make bench   what encryption costs, beside other programs: benchmarks/results and docs/performance.md; up to an
#                hour, wants a quiet machine; `make bench-short` runs each step in short: bench.json
#   make load    what an aggregator needs for many regions and long vectors: minutes
#   make coverage              what tests of hefed/crypto and hefed/protocol do not reach, branch by branch; fails if any
#   make model   state models of the protocol, searched by Spin; needs spin and gcc, and no .venv: a minute or two
#   make vectors               write protocols/vectors again, all of them
#   make lint    style         make types    static types
#   make wheelhouse            a folder and a tar file to install hefed from, without internet
#   make requirements          pin the newest releases that pyproject.toml allows, with hashes

PYTHON ?= python3
VENV   := .venv
READY  := $(VENV)/.ready
DEMO   ?= demo
WHEELHOUSE ?= wheelhouse

.PHONY: demo test coverage vectors model bench bench-short peers ratios performance load lint types format wheelhouse requirements clean

demo: $(READY)
	@echo 'The three tables are one public data set of one hospital, dealt out by row number; they are not the patients of'
	@echo 'Halland, Örebro and Kronoberg. Each region is a process of its own, with its own table.'
	@echo
	$(VENV)/bin/hefed simulate examples/heart-failure/cox.toml --out $(DEMO) --compare examples/reference/heart-failure-cox.json

test: $(READY)
	$(VENV)/bin/python -m pytest

# Kernels are compiled anew: what makes their instructions runs only while they are compiled. Without the tests that draw
# their examples, so that no line is reached by luck; without those whose work is done by other processes.
COVERING := tests/crypto tests/protocol tests/reference/test_differential.py tests/reference/test_records.py \
	$(wildcard tests/attacks) --ignore tests/crypto/test_machines.py \
	--deselect tests/crypto/test_compiling.py::test_of_three_processes_one_compiles
coverage: $(READY)
	made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && export NUMBA_CACHE_DIR="$$made" COVERAGE_FILE="$$made/coverage" \
		&& $(VENV)/bin/python -m coverage run -m pytest -m 'not hypothesis' $(COVERING) \
		&& $(VENV)/bin/python -m coverage report

# Those with keys that are drawn anew have other bytes each time.
vectors: $(READY)
	$(VENV)/bin/python -m protocols.reference.make_vectors
	$(VENV)/bin/python -m tests.reference.make_sealed
	$(VENV)/bin/python -m tests.reference.make_records

model:
	$(PYTHON) -m protocols.model.check

# Each step of a round, and whole rounds and fits, in short: for CI.
bench-short: $(READY)
	$(VENV)/bin/python -m pytest benchmarks --benchmark-max-time=0.1 --benchmark-min-rounds=3 \
		--benchmark-columns=min,median,rounds --benchmark-json=bench.json

bench: peers
	$(MAKE) ratios

# Peers have environments of their own, so that they change nothing of hefed's. What a registry does not have is left out.
PEERS := desilofhe lifelines matplotlib scikit-learn tenseal
# A Python 3.10 that runs: of the path, where pyenv may have put a name without a program behind it, or of pyenv.
PYTHON310 ?= $(shell for python in python3.10 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.10*/bin/python; do \
	"$$python" -c 'import ensurepip' > /dev/null 2>&1 && echo "$$python" && break; done)

peers:
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	for peer in $(PEERS); do $(VENV)-peers/bin/python -m pip install --quiet $$peer || echo "$$peer is left out"; done
	python310='$(PYTHON310)'; test -x $(VENV)-openfhe/bin/python \
		|| { test -n "$$python310" && "$$python310" -m venv $(VENV)-openfhe; } \
		|| echo 'OpenFHE is left out: its wheel is for Python 3.10, and no such Python runs here (PYTHON310=... names one)'
	test ! -x $(VENV)-openfhe/bin/python || $(VENV)-openfhe/bin/python -m pip install --quiet openfhe numpy \
		|| echo 'OpenFHE is left out'

# All measurements in one run, beside those peers that are here, and the page.
ratios: $(READY)
	$(VENV)/bin/python -m benchmarks.ratios
	$(VENV)/bin/python -m benchmarks.performance

# The last step alone: docs/performance.md from benchmarks/results.
performance: $(READY)
	$(VENV)/bin/python -m benchmarks.performance

load: $(READY)
	$(VENV)/bin/python -m benchmarks.load

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(READY)
	$(VENV)/bin/mypy

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

wheelhouse: $(READY)
	$(VENV)/bin/python examples/deployment/wheelhouse.py $(WHEELHOUSE)

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "hefed needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(VENV)/bin/python -c 'from hefed.crypto import parameters, selftest; [selftest.self_test(p) for p in parameters.PROFILES.values()]'
	@touch $@

# The last line above compiles the kernels, once, and lets the encryption test itself.
# setuptools is what builds hefed; it is pinned with the rest so that an installation never takes anything unpinned.
requirements: $(READY)
	$(VENV)/bin/python -m pip install --quiet uv
	{ echo '# Pinned with hashes by `make requirements`, for running and testing on CPython 3.11 and later. Do not edit.'; \
	  echo 'setuptools>=77' | $(VENV)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --extra test pyproject.toml -; } > requirements.new
	mv requirements.new requirements.txt

clean:
	rm -rf $(VENV) $(DEMO) wheelhouse wheelhouse.tar build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
