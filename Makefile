# `make demo` and `make test` are all a newcomer needs; the rest is for those who change moesift.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV := $(or $(shell command -v uv),.uv/bin/uv)

.PHONY: demo study test lint lock docs picture bench bench-gpu

demo: .venv/installed
	$(BIN)/python -m moesift.preloaded snakemake --cores all
	@$(BIN)/python -m moesift.stages.table --results results/demo/results.json

test: .venv/installed
	$(BIN)/pytest -m "not slow"

# Slurm, several processes, killed jobs, full disks, a browser, the study: what is missing here is skipped with its reason.
test-slow: .venv/installed
	$(BIN)/pytest -m slow

test-all: test test-slow

lint: .venv/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/snakefmt --check Snakefile workflow study && $(BIN)/ty check --python .venv

# The exact versions and hashes of requirements.txt, then moesift itself in editable mode. A machine without uv gets one
# of its own in .uv, so that the user's Python stays as it is.
.venv/installed: requirements.txt pyproject.toml
	$(UV) --version >/dev/null 2>&1 || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv; }
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

# Speed beside plain code and peak memory, on a machine that does nothing else: a quarter of an hour on two cores.
bench: .venv/installed
	$(BIN)/python -m benchmarks --out results/benchmarks.json
	$(BIN)/python -m benchmarks.selection --out results/benchmarks-selection.json
	$(BIN)/python -m benchmarks.similarity --out results/benchmarks-similarity.json
	$(BIN)/python -m benchmarks.plan --out results/benchmarks-plan.json
	$(BIN)/python -m benchmarks.prepare --out results/benchmarks-prepare.json
	$(BIN)/python -m benchmarks.memory --out results/benchmarks-memory.json

# The same of one GPU, at real sizes: eight minutes at most.
bench-gpu: .venv/installed
	$(BIN)/python -m benchmarks.gpu --out results/benchmarks-gpu.json

# Whether targeted selection beats random: 45 minutes on two cores. `make study STUDY=study/corruption.yaml` is the other study.
# With its default of 100 jobs a second, Snakemake looks at all open jobs again and again: once more in each second with
# every job that has finished, which takes half a core where there are hundreds.
STUDY = study/targets.yaml
study: .venv/installed
	$(BIN)/python -m moesift.preloaded snakemake --snakefile study/Snakefile --cores all --configfile $(STUDY) \
		--max-jobs-per-timespan 400/15s

docs: .venv/installed
	$(BIN)/python -m moesift.reference config/config.yaml > config/README.md

# The picture in the READMEs: the top of the page of `make demo`.
picture: .venv/installed
	PYTHONPATH=tests $(BIN)/python -m given.browser results/demo/report/index.html docs/report.png 1000

lock:
	$(UV) pip compile pyproject.toml --extra dev --universal --generate-hashes --quiet \
		--custom-compile-command "make lock" --output-file requirements.txt
# The plugin for Slurm, whose other needs requirements.txt has.
	grep -o 'snakemake-executor-plugin[^"]*' pyproject.toml | $(UV) pip compile - --no-deps --universal --generate-hashes \
		--quiet --no-annotate --custom-compile-command "make lock" --output-file profiles/slurm/requirements.txt
