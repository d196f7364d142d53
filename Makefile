# Every target makes what it lacks, .venv included. CONTRIBUTING.md lists the plain
# commands behind them for those who have no make.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif
RUN := $(BIN)/python
INSTALLED := .venv/installed

# The teacher's: where the course stands in which nbgrader works, and the seed of its numbers.
COURSE ?= course
SEED ?= 2026
# A file of identifiers, one a line: then each student gets numbers of their own.
STUDENTS ?=

# Of the check on a GPU: where it runs, how long MAML is timed, a folder with missing wheels.
DEVICE ?= cuda
TIME ?= 15
WHEELS ?=

.PHONY: book test quick long lint lint-code lint-format lint-links lint-size types graders \
  chapters-check pages assignments pack slides bundle archive moodle chapters bench results links \
  count hooks gpu bugs oldest newest requirements screenshot wheel clean

book: $(INSTALLED)
	$(RUN) tools/build_book.py

# In this order: the book of `pages` takes what `chapters-check` ran.
test: $(INSTALLED)
	@$(RUN) tools/run_stages.py "$(MAKE)" lint types quick long graders chapters-check pages
	@echo "All checks passed."

quick: $(INSTALLED)
	$(RUN) -m pytest -q -n auto -m "not long" --ignore=tests/book --ignore=tests/assignments

long: $(INSTALLED)
	$(RUN) -m pytest -q -n auto -m long --ignore=tests/book --ignore=tests/assignments

# What the hooks of .pre-commit-config.yaml run too, target by target.
lint: lint-code lint-format lint-links lint-size

lint-code: $(INSTALLED)
	$(RUN) -m ruff check .

lint-format: $(INSTALLED)
	$(RUN) -m ruff format --check .

lint-links: $(INSTALLED)
	$(RUN) tools/check_links.py

lint-size: $(INSTALLED)
	$(RUN) tools/count_code.py --check CONTRIBUTING.md

types: $(INSTALLED)
	$(RUN) -m mypy

graders: $(INSTALLED)
	$(RUN) -m pytest -q -n 2 tests/assignments

chapters-check: $(INSTALLED)
	$(RUN) -m pytest -q -n 2 --dist loadfile --nbval-lax --nbval-current-env \
	  --nbval-cell-timeout=120 chapters

pages: book
	$(RUN) -m pytest -q -n 2 tests/book

assignments: $(INSTALLED)
	$(RUN) tools/make_assignments.py --course "$(COURSE)" --seed $(SEED) \
	  $(if $(STUDENTS),--students "$(STUDENTS)")

# What to hand out, made anew from the sources in the course's folder, which may have been changed.
pack: $(INSTALLED)
	$(RUN) tools/make_assignments.py --course "$(COURSE)" --pack \
	  $(if $(STUDENTS),--students "$(STUDENTS)")

bundle: book slides
	$(RUN) tools/class_bundle.py --assignments "$(COURSE)/handout"

# The course without solutions, for students who install it from a network.
archive: $(INSTALLED)
	$(RUN) tools/class_bundle.py --zip dist/course.zip

# The questions of the chapters and the test for beforehand, to import into Moodle.
moodle: $(INSTALLED)
	$(RUN) tools/moodle_questions.py dist/questions.xml

slides: $(INSTALLED)
	$(RUN) tools/build_slides.py

chapters: $(INSTALLED)
	$(RUN) tools/run_chapters.py $(CHAPTERS)

# The picture of the book in README.md.
screenshot: book
	$(RUN) tools/screenshot.py

bench: $(INSTALLED)
	$(RUN) benchmarks/sampling.py
	$(RUN) benchmarks/task_gradients.py
	$(RUN) benchmarks/maml.py

# By the Python of the machine, which has a PyTorch for its GPU; nothing is installed into it.
gpu:
	$(PYTHON) tools/gpu_check.py --device $(DEVICE) --seconds $(TIME) $(if $(WHEELS),--wheels "$(WHEELS)")

# The tests of the package with the oldest versions it supports, and with the newest there are.
# Needs a network, and gigabytes.
oldest newest: $(INSTALLED)
	$(RUN) tools/try_versions.py $@

# Planted one at a time: does a test notice? Half an hour with 15 in each room.
bugs: $(INSTALLED)
	$(RUN) tools/plant_bugs.py

results: $(INSTALLED)
	$(RUN) results/multi_task.py
	$(RUN) results/maml_glyphs.py
	$(RUN) results/reptile_glyphs.py
	$(RUN) results/prototypes_glyphs.py
	$(RUN) results/fair_comparison.py
	$(RUN) results/omniglot_maml.py
	$(RUN) results/omniglot_challenge.py
	$(RUN) results/photographs.py
	$(RUN) results/adapters.py
	$(RUN) results/implicit.py
	$(RUN) results/learned_settings.py
	$(RUN) results/in_context.py
	$(RUN) results/few_shot_text.py

# Needs a network: are the addresses that the course names still there?
links: $(INSTALLED)
	$(RUN) tools/check_links.py --live

count: $(INSTALLED)
	$(RUN) tools/count_code.py --write CONTRIBUTING.md

# Not in requirements.txt, from which every reader installs.
hooks: $(INSTALLED)
	$(RUN) -m pip install -q --disable-pip-version-check "pre-commit>=4,<5"
	$(RUN) -m pre_commit install

requirements: $(INSTALLED)
	$(RUN) -m uv pip compile --quiet --universal --python-version 3.11 --upgrade \
	  --annotation-style line --custom-compile-command "make requirements" \
	  requirements.in -o requirements.txt

wheel: $(INSTALLED)
	$(RUN) -m pip wheel -q --no-deps --no-build-isolation -w dist .

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(d, ignore_errors=True) for d in ('_build', 'dist')]"

$(INSTALLED): requirements.txt pyproject.toml tools/metalearn_lite_hook.pth tools/hatch_build.py
	$(PYTHON) -c "import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f'Python 3.11 or newer is needed, this is {v}; try make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install -q --disable-pip-version-check -r requirements.txt
	$(RUN) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(RUN) -c "import pathlib; pathlib.Path('$(INSTALLED)').touch()"
