# Reelwright. `make help` lists what can be made; `make demo` and `make test` set themselves up.
.POSIX:

PYTHON = python3
# Reserved: which torch the later extras take (none, cpu, auto). The base installs none.
TORCH = none
# Passed on to pytest: make test ARGS="-k camera"
ARGS =

BIN = .venv/bin
READY = .venv/.ready
RIVALS = .venv/bench

.PHONY: help setup demo test check lint style types imports phone docs docs-check bench clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'

setup: $(READY) ## Make .venv and install Reelwright into it, editable, with its tools

demo: $(READY) ## Render the demo film and print its path
	@$(BIN)/python examples/demo.py

test: $(READY) ## Run the tests; ARGS goes to pytest
	@$(BIN)/python -m pytest $(ARGS)

check: lint test ## Everything that CI checks: style, types, imports, docs, tests

lint: style types imports docs-check phone ## All checks but the tests

style: $(READY) ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

imports: $(READY) ## import-linter: who may import whom
	@$(BIN)/lint-imports

phone: ## Check the types of the phone's example; needs npm, and is left out without it but in CI
	@if command -v npm >/dev/null; then cd examples/phone && npm ci --silent --no-audit --no-fund && npm run --silent check; \
	elif test -n "$$CI"; then echo "npm is missing in CI" >&2; exit 1; else echo "npm is missing: the phone's example is not checked"; fi

docs: $(READY) ## Write docs/reference from the code
	@$(BIN)/python docs/generate.py

docs-check: $(READY) ## Fail if docs/reference differs from the code
	@$(BIN)/python docs/generate.py --check

bench: $(READY) $(RIVALS)/.ready ## Measure against moviepy, FFmpeg and x264 alone; ARGS goes to the benchmark
	@$(BIN)/python bench/media.py $(ARGS)

clean: ## Remove everything that make made, .venv too
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .cache examples/phone/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Remade when a dependency, a pin or an entry point changes; a second call installs nothing.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Reelwright needs Python 3.11 or newer. Name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python has no venv. Debian, Ubuntu: apt install python3-venv. Fedora, macOS: reinstall Python." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[timeline,server,scale,client]' --group dev
	@touch $@

# moviepy wants an older Pillow than Reelwright, so it lives apart.
$(RIVALS)/.ready: $(READY) Makefile
	@test -x $(RIVALS)/bin/python || $(PYTHON) -m venv $(RIVALS)
	@$(RIVALS)/bin/python -m pip install --quiet --upgrade pip
	@$(RIVALS)/bin/python -m pip install --quiet 'moviepy==2.2.1'
	@touch $@
