# Needs nothing but Python (3.11 or later) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo check test browser attack fmt lint bench docs gpu clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | column -t -s @ 2>/dev/null || \
	sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## upscale a sample image and a sample clip with the packaged weights, on the CPU
	$(BIN)/python docs/samples/draw.py demo
	$(BIN)/dagan upscale demo/picture.png -s 4 --device cpu -o demo/picture_x4.png -y
	$(BIN)/dagan upscale demo/clip.mp4 -s 2 --device cpu -o demo/clip_x2.mp4 -y
	@echo "look at demo/picture_x4.png and demo/clip_x2.mp4"

check: $(VENV)/.installed-dev ## what to run before each commit: lint, types and the fast tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright & types=$$!; $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"; tests=$$?; wait $$types && exit $$tests

test: $(VENV)/.installed-dev ## everything that must pass, on all cores: lint, types and all tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright & types=$$!; $(BIN)/python -m pytest -n auto --dist worksteal; tests=$$?; wait $$types && exit $$tests

BROWSER ?= chromium
browser: $(VENV)/.installed-dev ## tests of the pages in a real browser
	DAGAN_TEST_BROWSER=$(BROWSER) $(BIN)/python -m pytest tests/pages tests/trainer/record/test_page.py

attack: $(VENV)/.installed-dev ## attacks at full length, with a table of figures (half an hour)
	DAGAN_ATTACK=1 $(BIN)/python -m pytest -m attack

fmt: $(VENV)/.installed-dev ## format the code and sort its imports
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format

lint: $(VENV)/.installed-dev ## lint and type checks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

bench: $(VENV)/.installed ## speed of the network, the engine and every stage of a video, on this machine
	$(BIN)/dagan bench
	$(BIN)/dagan bench --stages -s 2

docs: $(VENV)/.installed-dev ## build the documentation site into build/docs, without a network
	$(BIN)/sphinx-build -W --keep-going -n -q docs build/docs
	@echo "look at build/docs/index.html"

OUT ?= docs/gpu
gpu: $(VENV)/.installed-dev ## tests, correctness and speed on a CUDA device, in eight minutes, into docs/gpu
	$(BIN)/python -m dagan_cli.bench.gpu $(OUT)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean: ## remove the virtual environment, the demo and the site
	rm -rf $(VENV) demo build/docs
