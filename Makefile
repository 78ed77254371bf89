# Both start from nothing but Python (3.11 or later) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/.installed ## upscale a sample picture and a sample clip with the embedded weights, on the CPU
	$(BIN)/python docs/samples/draw.py demo
	$(BIN)/dagan upscale demo/picture.png -s 4 --device cpu -o demo/picture_x4.png -y
	$(BIN)/dagan upscale demo/clip.mp4 -s 2 --device cpu -o demo/clip_x2.mp4 -y
	@echo "look at demo/picture_x4.png and demo/clip_x2.mp4"

test: $(VENV)/.installed-dev lint ## everything that must pass, on all cores
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo
