# Every target runs in .venv, which the first one to need it makes.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test fuzz test-oracles bench index docs-compile

# Train a network on the digits data.
demo: .venv/sklearn.stamp
	$(BIN)/chainrule demo

# Lint, check types, run the suite, the docs' code in it.
test: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q -n 2 tests --ignore=tests/against

# Compile ten times as many random graphs, new ones at each run.
fuzz: .venv/dev.stamp
	CHAINRULE_FUZZ=2000 $(BIN)/pytest -q -n 2 tests/compile/test_random_graphs.py

# Compare with PyTorch and JAX.
test-oracles: .venv/oracles.stamp
	$(BIN)/pytest -q -n 2 tests/against

# Time the same work on chainrule and on its peers.
bench: .venv/oracles.stamp
	$(BIN)/python -m benchmarks

# Write the index of names, the type stub and the table of operations from the declarations.
index: .venv/dev.stamp
	$(BIN)/python tools/index.py

# Write the forms that docs/compile.md shows, by running its step.
docs-compile: .venv/dev.stamp
	$(BIN)/python tools/compile_page.py

# .venv/NAME.stamp says that the package is installed, editable, with its extra NAME.
.venv/%.stamp: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

$(BIN)/pip:
	$(PYTHON) -m venv .venv
