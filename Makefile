PYTHON ?= python3
BIN := .venv/bin
FLOORS := tests/algorithm tests/rendering/test_painter.py tests/rendering/test_text_targets.py \
	tests/rendering/test_judge.py tests/audio/test_encoders.py tests/core
RUN := OMP_WAIT_POLICY=PASSIVE $(BIN)

# The installed PyTorch brings NumPy.
GPU_WHEELS := accelerate annotated-doc annotated-types antlr4-python3-runtime anyio certifi cffi charset-normalizer click diffusers \
  filelock fsspec h11 httpcore httpcore2 httpx httpx2 huggingface_hub hydra-core idna importlib_metadata Jinja2 markdown-it-py MarkupSafe \
  mdurl omegaconf packaging pillow psutil pycparser pydantic pydantic_core Pygments PyYAML regex requests rich safetensors \
  shellingham soundfile soxr tokenizers tqdm transformers truststore typer typing-inspection typing_extensions urllib3 zipp
space := $(subst ,, )

.PHONY: help setup demo gpu-bundle test test-gpu test-slow test-floors test-long test-deploy lint clean pack pack-report bench-quality bench-quality-quick bench-adapter bench-scale bench-render bench-kills docs

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: .venv/.installed  ## install everything into .venv, at the locked versions

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

demo: setup  ## two nodes, dog and chainsaw: train, distil, render 400 pictures
	$(RUN)/vegas-fl

test: setup  ## run the fast tests, on two cores
	OMP_NUM_THREADS=1 $(RUN)/pytest -q -n 2 --dist loadfile

test-slow: setup  ## run the slow tests: flwr run, killed runs, accuracy on real recordings
	OMP_NUM_THREADS=1 $(RUN)/pytest -q -n 2 --dist loadfile -m "slow and not long and not deploy"

test-long: setup  ## run the long tests, before a release: a thousand pictures and ten kills, the pack's recipe
	$(RUN)/pytest -q -m long

test-gpu: setup  ## run the tests that need a GPU; without one they are skipped
	$(RUN)/pytest -q -m gpu -rs

gpu-bundle: setup  ## pack the wheels with which `vegas-fl bench gpu` runs beside an installed PyTorch, without a network
	rm -rf build/gpu-bundle && mkdir -p build/gpu-bundle
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/gpu-bundle .
	grep -E '^($(subst $(space),|,$(GPU_WHEELS)))==' requirements.lock > build/gpu-bundle/requirements.txt
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/gpu-bundle --requirement build/gpu-bundle/requirements.txt
	printf '%s\n' 'cd "$$(dirname "$$0")" && python3 -m pip install --quiet --no-index --no-deps --upgrade --target site *.whl' \
	  'PYTHONPATH=site exec python3 -m vegas_fl bench gpu' > build/gpu-bundle/run.sh
	du -sm build/gpu-bundle && test $$(du -sm build/gpu-bundle | cut -f1) -le 60

test-deploy: setup  ## run the deployment tests: SuperLink and SuperNodes on separate hosts (as root: network namespaces)
	$(RUN)/pytest -q -m deploy

test-floors:  ## run a few tests with the lowest versions that pyproject.toml allows, in .venv-floors
	$(PYTHON) -m venv .venv-floors
	.venv-floors/bin/pip install --quiet uv
	.venv-floors/bin/uv pip compile --quiet --resolution lowest-direct --extra dev pyproject.toml -o .venv-floors/floors.txt
	.venv-floors/bin/uv pip install --quiet --python .venv-floors/bin/python --requirement .venv-floors/floors.txt
	OMP_NUM_THREADS=1 PYTHONPATH=. .venv-floors/bin/python -m pytest -q $(FLOORS)

lint: setup  ## check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup  ## write the pages of docs/ that follow from conf/ and the code
	$(RUN)/python -m docs.configuration

bench-render: setup  ## measure pictures a second against plain loops, and peak memory
	$(RUN)/vegas-fl bench render

pack: setup  ## train the tiny pack anew from its sources (hours)
	$(RUN)/python -m vegas_tiny.recipe build

pack-report: setup  ## measure the tiny pack and write the figures into its model card
	$(RUN)/python -m vegas_tiny.recipe report

bench-quality: setup  ## every aggregation on real recordings: make bench-quality ROOT=/data/ESC-50
	$(RUN)/vegas-fl bench quality $(ROOT)

bench-quality-quick: setup  ## kd, its baselines and intervals on ESC-10, one seed: make bench-quality-quick ROOT=/data/ESC-50
	$(RUN)/vegas-fl bench quality $(ROOT) --suite esc10 --seeds 1 --output runs/bench-quality-quick.csv

bench-adapter: setup  ## the adapter's order against the replaced system's: make bench-adapter [ROOT=/data/ESC-50]
	$(RUN)/vegas-fl bench adapter $(ROOT)

bench-scale: setup  ## time and memory of the server with 10 and with 100 nodes
	$(RUN)/vegas-fl bench scale

bench-kills: setup  ## kill a process in each of twenty runs of a deployment: do they end with the same files?
	$(RUN)/vegas-fl bench kills

clean:  ## remove caches and what runs left here (checkpoints, pictures, runs)
	rm -rf checkpoints output_images runs .pytest_cache .mypy_cache .ruff_cache *.egg-info *.fab
