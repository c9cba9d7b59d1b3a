# make demo   environment, install, the main job on MovieLens-100K, recommendations
# make fast   environment, install, the fast tests: what `pytest` runs when it is told nothing
# make test   environment, install, all tests; PYTEST='-k name' for some
# make check  format, lint, types, import direction, docs, notebooks, the fast tests; CI runs the same but for
#             the tests, of which it runs all
# make docs   the pages of docs/, built into build/site
# make bench  the benchmarks, one JSON line each; bench-check compares them with benchmarks/ratios.json
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Keras 2 and quiet start-up for every tool that imports TensorFlow on its own.
export TF_USE_LEGACY_KERAS = 1
export TF_CPP_MIN_LOG_LEVEL = 3
# Bytecode of the package and of the tests, which pytest rewrites, is kept for the next process.
unexport PYTHONDONTWRITEBYTECODE
# Three workers for two cores, because tests wait for processes and timers a third of their time. They take
# files in the order of the tree: by default the files with few and long tests come last, and one worker waits
# for the others.
WORKERS := -n 3 --dist loadfile --no-loadscope-reorder
# Large arrays that training frees are kept for the next step: giving them back to the system and asking
# anew was a third of the notebooks' time. Of the C library of Linux; others ignore it.
KEEP_MEMORY := MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000
# Exports of the notebooks answer in the process of the notebook: the fresh one is tested by `make test`.
# Notebooks of many models come first: one of two processes would end with them, and the other be idle. Workers
# of pytest have the next test before they need it, so that one may wait behind another. Plugins of pytest other
# than that of notebooks take longer to import than it does.
AT_ONCE ?= 2
LONGEST := $(patsubst %,notebooks/%.ipynb,02_youtube_dnn 03_dssm 01_two_tower)

.PHONY: demo fast test check format lint types imports docs notebooks bench bench-check clean

demo: $(STAMP)
	$(BIN)/tfrecall run $(if $(DATA),--data $(DATA))
	@echo 'After ". $(BIN)/activate" the name tfrecall is enough, in commands of your own, too.'

fast: $(STAMP)
	$(BIN)/pytest $(WORKERS) $(PYTEST)

test: $(STAMP)
	$(BIN)/pytest $(WORKERS) -m "" $(PYTEST)

check: $(STAMP) format lint types imports docs notebooks fast

format: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy tfrecall

imports: $(STAMP)
	$(BIN)/lint-imports --config setup.cfg

# Search in the pages needs a server: python -m http.server -d build/site
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(STAMP)
	$(BIN)/python -m docs.generate --check
	$(BIN)/mkdocs build --strict --quiet

notebooks: $(STAMP)
	printf '%s\n' $(LONGEST) $(filter-out $(LONGEST),$(wildcard notebooks/*.ipynb)) | \
	  TFRECALL_NOTEBOOK_BUDGET=small TFRECALL_REPLAY=in_process $(KEEP_MEMORY) PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
	  xargs -n 1 -P $(AT_ONCE) $(BIN)/pytest -q -p nbmake.pytest_plugin --nbmake --nbmake-timeout=900 -o addopts=

bench: $(STAMP)
	for file in benchmarks/bench_*.py; do $(BIN)/python -m $$(echo $${file%.py} | tr / .) || exit 1; done

bench-check: $(STAMP)
	$(BIN)/python -m benchmarks.check $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Annoy compiles from source; a wheel of it in the cache spares that the next time. `make UV=uv` installs by uv,
# which is faster and knows nothing of pip's settings: where it fails, pip installs.
BY_UV = $(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev]'
BY_PIP = { $(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel && \
  $(BIN)/python -m pip install --quiet -e '.[dev]'; }
$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else \
	  "tfrecall needs Python 3.10 to 3.13, and this is " + sys.version.split()[0] + \
	  ". Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(if $(UV),$(BY_UV) ||) $(BY_PIP)
	touch $@
