# Everything happens in .venv; nothing else on the machine is touched.
#   make demo       train on the recordings in tests/recordings, score, identify a clip
#   make test       the fast tests        make test-all   the slow ones and the browser's too, with their coverage
#   make test-browser   the tests of the page in Chromium
#   make lint       linter, formatter, types                make bench      speeds
#   make smoke      the package in an empty environment
#   make seeds      the commands of five older systems, beside ours
#   make pages      the commands of README.md and docs/, as written
#   make docs       the site, into build/docs
PYTHON ?= python3
EXTRAS ?= cpu,onnx,serve,test
BIN := .venv/bin

.PHONY: install test test-all test-browser lint smoke seeds pages bench docs demo clean
.DEFAULT_GOAL := install

install: .venv/installed-$(EXTRAS)

# The stamp makes a second `make` skip the installation until the requirements change.
.venv/installed-$(EXTRAS): setup.cfg pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or later, or name one: make install PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: nafp needs Python 3.11 or later; name one: make install PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "could not create .venv; on Debian and Ubuntu: apt-get install python3-venv"; rm -rf .venv; exit 1; }
	@echo "installing nafp[$(EXTRAS)] into .venv (once; some minutes)"
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@

# Tests run side by side, file by file, in up to eight processes (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -W error --numprocesses=auto --maxprocesses=8 --dist=loadfile --no-loadscope-reorder

# COVER=--cov prints which share of the lines the tests run.
test: install
	$(PYTEST) --durations=10 --durations-min=5 $(COVER)

test-all: install
	$(PYTEST) --durations=10 --durations-min=5 -m 'slow or not slow' --cov --cov-report=term

# One browser for all of them; they are skipped where there is no Chromium.
test-browser: install
	$(BIN)/python -m pytest -W error -m 'browser and not slow' -rs tests/serving

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

# Installs an sdist of the last commit where nothing else is, and adds and identifies there.
smoke: install
	PYTHON=$(BIN)/python .ci/smoke

# Every command of docs/from-the-five.md, on the recordings that ship.
seeds: install
	$(BIN)/python .ci/seeds

# The commands of README.md and docs/, as written, on the recordings that ship.
pages: install
	$(BIN)/python .ci/pages

bench:
	@$(MAKE) --no-print-directory install EXTRAS=cpu,onnx,serve,test,bench
	@for name in encoder training_step pipeline extraction accelerator; do \
		echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done
	@echo "== identify"; $(BIN)/python -m benchmarks.identify --folder=.demo/bench
	@echo "== evaluation"; $(BIN)/python -m benchmarks.evaluation --folder=.demo/bench --out=.demo/bench/evaluation.json

# Warnings are errors: a link or an anchor that leads nowhere fails. Nothing in the pages loads from another host.
docs:
	@$(MAKE) --no-print-directory install EXTRAS=cpu,onnx,serve,test,docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

# First the network that ships, then one trained here; another run resumes the training. All of it goes into .demo.
DEMO := $(BIN)/nafp
demo: install
	$(DEMO) corpus build --manifest=tests/recordings/RECORDINGS.csv --out=.demo/corpus
	$(DEMO) queries render --source=.demo/corpus --conditions=phone --count=1 --seconds=5 --seed=1 --out=.demo/clip --overwrite
	$(DEMO) add .demo/collection tests/recordings/music
	$(DEMO) identify .demo/collection .demo/clip/*.wav
	@echo "cut at second: $$(tail -n 1 .demo/clip/expected.csv | cut -d, -f2,3)"
	$(DEMO) train --config=configs/demo.py --config.data.corpus=.demo/corpus --workdir=.demo/run
	$(DEMO) queries render --source=.demo/corpus --aligned --conditions=n5.room.mic --out=.demo/queries --overwrite
	$(DEMO) extract --checkpoint=.demo/run@best --source=.demo/corpus --split=train,val --name=dummy_db --out=.demo/store --overwrite
	$(DEMO) extract --checkpoint=.demo/run@best --source=.demo/corpus --split=test --name=db --out=.demo/store --overwrite
	$(DEMO) extract --checkpoint=.demo/run@best --source=.demo/queries/list.txt --name=query --out=.demo/store --overwrite
	$(DEMO) evaluate --store=.demo/store --index=l2 --out=.demo/results
	$(DEMO) identify --checkpoint=.demo/run@best --store=.demo/store --name=db,dummy_db .demo/clip/*.wav

clean:
	rm -rf .venv .demo build dist *.egg-info
