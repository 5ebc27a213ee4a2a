# Reelwright. `make help` lists what can be made; `make demo` and `make test` set themselves up.
.POSIX:

PYTHON = python3
# Which torch is installed, for local models: none; auto, the build that pip finds for this machine; or cpu, the build without
# CUDA, from the index that TORCH_INDEX names (PyTorch's own "Get started" page has its address). Tests take auto.
TORCH = none
TORCH_INDEX =
# Passed on to pytest: make test ARGS="-k camera"
ARGS =
# Tests that run at the same time, each in a process with services of its own; journeys, which are killed and frozen, run alone.
JOBS = 2

BIN = .venv/bin
READY = .venv/.ready
MODELS = .venv/.models
RIVALS = .venv/bench

.PHONY: help setup demo test check lint style types imports phone docs docs-check bench clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'

setup: $(READY) ## Make .venv and install Reelwright into it, editable, with its tools; TORCH=auto for local models too
	@test "$(TORCH)" = none || $(MAKE) --no-print-directory $(MODELS) TORCH=$(TORCH) TORCH_INDEX=$(TORCH_INDEX)

demo: $(READY) ## Render the demo film and print its path
	@$(BIN)/python examples/demo.py

test: TORCH = auto
test: $(READY) ## Run the tests; ARGS goes to pytest, TORCH=none leaves out local models
	@test "$(TORCH)" = none || $(MAKE) --no-print-directory $(MODELS) TORCH=$(TORCH) TORCH_INDEX=$(TORCH_INDEX)
	@export OMP_NUM_THREADS=1; if test -n "$(ARGS)"; then $(BIN)/python -m pytest $(ARGS); else \
	  failed=0; $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --ignore tests/journeys || failed=1; \
	  $(BIN)/python -m pytest tests/journeys || failed=1; exit $$failed; fi

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

# torch first and alone, so that nothing else chooses its build; torchao without what it would bring along.
$(MODELS): $(READY)
	@case "$(TORCH)" in auto|cpu) ;; *) echo "TORCH is auto, cpu or none, not $(TORCH)" >&2; exit 1;; esac
	@test "$(TORCH)" = auto || test -n "$(TORCH_INDEX)" || \
	  { echo "TORCH=cpu needs TORCH_INDEX, the address of PyTorch's CPU builds; or take TORCH=auto" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[timeline,server,scale,client,diffusers]'
	@$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps torchao gguf
	@touch $@

# moviepy wants an older Pillow than Reelwright, so it lives apart.
$(RIVALS)/.ready: $(READY) Makefile
	@test -x $(RIVALS)/bin/python || $(PYTHON) -m venv $(RIVALS)
	@$(RIVALS)/bin/python -m pip install --quiet --upgrade pip
	@$(RIVALS)/bin/python -m pip install --quiet 'moviepy==2.2.1'
	@touch $@
