# `make venv` builds the private environment; every other target uses it.
PYTHON ?= python3
V := .venv/bin

.PHONY: venv test quick lint bench demo run install clean

venv: .venv/stamp
.venv/stamp: setup.py
	$(PYTHON) -m venv .venv
	$(V)/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

lint: venv
	$(V)/ruff check .
	$(V)/ruff format --check .
	$(V)/mypy

test: venv
	$(V)/pytest -n 2

quick: venv
	$(V)/pytest -n 2 -m 'not slow'

# A farm of real daemons in a temporary folder: shown and ended, or left running until Ctrl-C.
demo: venv
	$(V)/python -m demo demo

run: venv
	$(V)/python -m demo run

# For real: PREFIX, DESTDIR, PYTHON, SERVICES as conf/install says.
install:
	conf/install

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
