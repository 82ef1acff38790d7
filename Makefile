# Every target works on a fresh clone with Python >= 3.11, make and nothing else.
PYTHON ?= python3
BIN := .venv/bin
PAGES := src/residuum/reporting src/residuum/page
SNIPPETS := src/residuum/exporting
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

# Which build of torch: as pip chooses, or cpu, cu126, ... of PyTorch's own index, or what pip is to install.
TORCH ?=
torch-named = --index-url https://download.pytorch.org/whl/$(TORCH) torch
torch-asked = $(if $(findstring /,$(TORCH)),$(TORCH),$(torch-named))

# Two processes of one thread each take half the time of one with two threads. Each begins with half of the tests, in
# order, so that most files share what they train; who is done first takes over from the other.
TEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal --durations 15
NETS := $(wildcard $(patsubst %,tests/test_%.py,kernels plan models shortcuts other_nets pooling winograd frozen_stem))
TRAINING := $(wildcard $(patsubst %,tests/test_%.py,training recipes_and_optimizer study_nets study_inside study_learning))
ENGINES := tests/test_bench.py tests/test_engines.py

.PHONY: help demo docs setup test test-avx2 test-plain test-slow lint clean

help:        ## show this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: .venv/installed  ## train on the built-in digits, write the report, say what to try next
	$(BIN)/residuum train digits --out $(DEMO)
	$(BIN)/residuum report $(DEMO)
	@echo
	@echo "Open $(DEMO)/report.html in a browser. What to try next:"
	@echo "  $(BIN)/residuum train YOUR_PHOTOS          a folder with one folder a class"
	@echo "  $(BIN)/residuum predict $(DEMO) PICTURE  what does it show?"
	@echo "  $(BIN)/residuum models                     the nets there are"

docs: .venv/has-docs  ## build the site into site/, which opens offline: site/index.html, site/zh/index.html
	rm -rf site
	$(BIN)/python -m sphinx -E -W -q -c docs -d .venv/doctrees/en docs site
	RESIDUUM_LANG=zh $(BIN)/python -m sphinx -E -W -q -c docs -t zh -d .venv/doctrees/zh docs/zh site/zh

setup: .venv/installed-dev  ## build .venv with all that development needs

# Where .venv has a residuum that make has not put there, demo and docs use it as it is.
OWN := $(if $(wildcard .venv/installed),,$(wildcard $(BIN)/residuum))

.venv/installed: $(if $(OWN),,pyproject.toml)
ifeq ($(OWN),)
	@test -e $@ || echo "building .venv: PyTorch and a few packages are fetched and installed, which takes some minutes"
	$(PYTHON) -m venv .venv
	$(if $(TORCH),$(BIN)/python -m pip install --quiet $(torch-asked))
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@
endif

# The site reads this folder, wherever the installed residuum lies: its packages are all that is wanted.
.PHONY: .venv/has-docs
.venv/has-docs: .venv/installed
	@$(BIN)/python -c "import furo, myst_parser, sphinx" 2>/dev/null || { \
		echo "adding the site's packages to .venv"; \
		$(BIN)/python -c "import tomllib; all = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	print('\n'.join(all['optional-dependencies']['docs']))" | $(BIN)/python -m pip install --quiet --requirement /dev/stdin; }

.venv/installed-dev: .venv/installed pyproject.toml
	@echo "installing this folder (editable) and what development needs into .venv"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch .venv/installed $@

test: .venv/installed-dev  ## run the tests
	$(TEST)

test-avx2: .venv/installed-dev  ## those of nets, kernels, training, studies and engines as on a processor with AVX2
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(TEST) $(NETS) $(TRAINING) $(ENGINES)

test-plain: .venv/installed-dev  ## those of nets and training without kernels, and without a compiler
	RESIDUUM_KERNELS=off $(TEST) $(NETS) $(TRAINING)
	PATH=$(abspath $(BIN)) CXX= $(TEST) tests/test_kernels.py tests/test_plan.py

# Its longest parts are shorter with RESIDUUM_FUZZ_SECONDS=60 RESIDUUM_KILLS=20 RESIDUUM_FAULTS_EVERY=10
test-slow: .venv/installed-dev  ## run the tests that take longer than a minute
	$(BIN)/python -m pytest -m slow --timeout 3600

lint: .venv/installed-dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/djlint --check --lint --quiet $(PAGES)
	$(BIN)/oxfmt --check $(addsuffix /*.js,$(PAGES)) $(SNIPPETS)/*.mjs
	$(BIN)/oxlint --deny-warnings $(addsuffix /*.js,$(PAGES)) $(SNIPPETS)/*.mjs
	$(BIN)/clang-format --dry-run -Werror src/residuum/kernels/*.cpp src/residuum/kernels/*.hpp $(SNIPPETS)/*.cpp

clean:       ## remove what make built, but no run
	rm -rf .venv
