# Everything a person types. Needs Python 3.11 or newer, make and the package registries; all else is installed here.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
# The variable silences a note of the theme about its successor.
SITE := NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs
SOURCES := crds materials operator trainer-image studio playground benchmarks docs tests

.PHONY: help install demo playground playground-down test test-invokeai check docs bench bench-operator bench-learning bench-trainer bench-resume bench-dataset bench-hostile bench-push bench-start generate format lock clean

help:  ## Show what can be made.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

install: $(READY)  ## Install everything that is locked, into .venv.

$(READY): requirements.lock requirements.bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing the locked requirements into $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.bootstrap.lock
	@$(VENV)/bin/uv pip sync --quiet --python $(RUN) --require-hashes requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(RUN) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## Train, select and publish a concept model on a cluster of its own. KEEP=1 leaves it up.
	@$(RUN) -m atelier_playground.demo $(if $(KEEP),--keep) $(if $(CONTEXT),--context $(CONTEXT))

playground: $(READY)  ## Leave a cluster of its own up, with a base model in its store, to try the plugin on.
	@$(RUN) -m atelier_playground up

playground-down: $(READY)  ## End it.
	@$(RUN) -m atelier_playground down

test: $(READY)  ## Run every test, the demo's journey among them.
	@# On a new machine this takes minutes, which the first test that needs it does not have.
	@$(RUN) -c "from atelier_playground.binaries import build_control_plane; build_control_plane()"
	@$(RUN) -m pytest tests

test-invokeai: $(READY)  ## Publish into a real InvokeAI server (installed once into the user's cache: 7 GB).
	@ATELIER_TEST_INVOKEAI=1 $(RUN) -m pytest tests/invokeai

check: $(READY)  ## Lint, types, import contracts, drift of generated files, the site, chart lint.
	@$(VENV)/bin/ruff check $(SOURCES)
	@$(VENV)/bin/ruff format --check $(SOURCES)
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@$(RUN) crds/generate.py --check
	@$(RUN) docs/generate.py --check
	@$(SITE) build --quiet --strict
	@$(RUN) -m pytest -q -m "not cluster" tests/house tests/chart

bench: bench-operator bench-learning bench-trainer bench-resume bench-dataset bench-hostile bench-push bench-start  ## Run every benchmark; figures go to benchmarks/results.

bench-operator: $(READY)  ## 500 TrainingJobs at once.
	@$(RUN) benchmarks/operator_burst.py

bench-learning: $(READY)  ## Whether concepts are learned, three seeds.
	@$(RUN) benchmarks/learning.py

bench-trainer: $(READY)  ## Whether training is faster than what people use today; DEVICE=cuda for a GPU.
	@$(RUN) benchmarks/trainer_bench.py --device $(or $(DEVICE),cpu)

bench-resume: $(READY)  ## Trainers killed at random points of every phase end as undisturbed ones do.
	@$(RUN) benchmarks/resume.py

bench-start: $(READY)  ## How long `kubectl atelier` takes to start.
	@$(RUN) benchmarks/cli_start.py

bench-push: $(READY)  ## A push against rclone's, and what a killed one sends twice.
	@$(RUN) benchmarks/push.py

bench-dataset: $(READY)  ## A thousand photographs checked: half a minute, two cores, half a gibibyte.
	@$(RUN) benchmarks/dataset_check.py

bench-hostile: $(READY)  ## Hostile files are refused within 5 seconds and 512 MiB each.
	@$(RUN) benchmarks/hostile_input.py

docs: $(READY)  ## Build the documentation into build/site; serve it with python -m http.server -d build/site.
	@$(SITE) build --quiet --strict

generate: $(READY)  ## Write the CRDs, the chart's copy and the reference pages from what they repeat.
	@$(RUN) crds/generate.py
	@$(RUN) docs/generate.py

format: $(READY)  ## Format the sources.
	@$(VENV)/bin/ruff check --fix $(SOURCES)
	@$(VENV)/bin/ruff format $(SOURCES)

lock: $(READY)  ## Renew the locked requirements (hashes, no addresses).
	@$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--all-extras -o requirements.lock pyproject.toml
	@for side in operator trainer; do \
		$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
			--extra $$side -c requirements.lock -o $$([ $$side = trainer ] && echo trainer-image || echo operator)/requirements.lock pyproject.toml; \
	done

clean:  ## Remove what was installed and built here (not the caches of the user).
	@rm -rf $(VENV) build
