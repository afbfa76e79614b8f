# Every target runs in .venv, which the first one to need it makes.
PYTHON ?= python3
BIN := .venv/bin
# Where it is set, each process that a test starts would compile the whole package anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test fuzz test-oracles conformance bench index docs-compile docs-diagnose \
        docs-outputs

# Train a network on the digits data.
demo: .venv/sklearn.stamp
	$(BIN)/chainrule demo

# Lint, check types, run the suite, the docs' code in it.
test: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q -n 2 --dist worksteal tests --ignore=tests/against

# Compile ten times as many random graphs, and hand fifteen times as many arguments to every public
# function, new ones at each run.
fuzz: .venv/dev.stamp
	CHAINRULE_FUZZ=2000 $(BIN)/pytest -q -n 2 tests/compile/test_random_graphs.py
	CHAINRULE_FUZZ=60 $(BIN)/pytest -q -n 2 tests/test_bad_input.py

# Compare with PyTorch and JAX.
test-oracles: .venv/oracles.stamp
	$(BIN)/pytest -q -n 2 tests/against

# Run the Array API standard's own suite from a checkout of data-apis/array-api-tests that you name:
# make conformance SUITE=PATH. EXAMPLES is how many random inputs each case gets.
EXAMPLES ?= 50
conformance: .venv/conformance.stamp
	@test -d "$(SUITE)/array_api_tests" || { echo 'make conformance SUITE=PATH, of a checkout of' \
	  'https://github.com/data-apis/array-api-tests with its submodule'; exit 2; }
	cd "$(SUITE)" && ARRAY_API_TESTS_MODULE=chainrule ARRAY_API_TESTS_VERSION=2025.12 \
	  "$(CURDIR)/$(BIN)/python" -m pytest -q -p no:cacheprovider --disable-warnings \
	  --disable-deadline --max-examples $(EXAMPLES) array_api_tests

# Time the same work on chainrule and on its peers.
bench: .venv/oracles.stamp
	$(BIN)/python -m benchmarks

# Write the index of names, the type stub and the table of operations from the declarations.
index: .venv/dev.stamp
	$(BIN)/python tools/index.py

# Write the forms that docs/compile.md shows, by running its step.
docs-compile: .venv/dev.stamp
	$(BIN)/python tools/compile_page.py

# Write the table of rules in docs/diagnose.md from the rules.
docs-diagnose: .venv/dev.stamp
	$(BIN)/python tools/diagnose_page.py

# Write what the sessions of these pages print, by running them.
PAGES ?= docs/math/*.md
docs-outputs: .venv/dev.stamp
	$(BIN)/python tools/outputs.py $(PAGES)

# .venv/NAME.stamp says that the package is installed, editable, with its extra NAME.
.venv/%.stamp: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

$(BIN)/pip:
	$(PYTHON) -m venv .venv
