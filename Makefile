# `make venv` builds the private environment; every other target uses it.
PYTHON ?= python3
V := .venv/bin

.PHONY: venv test quick lint bench bench-plots bench-xen bench-xenlab demo run xenlab halab bench-halab slurmlab bootlab install clean

venv: .venv/stamp
.venv/stamp: setup.py
	$(PYTHON) -m venv .venv
	$(V)/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

lint: venv
	$(V)/ruff check .
	$(V)/ruff format --check .
	$(V)/mypy

# Each worker takes a run of neighbours, which share what was made for a module, and then what the other has left.
PYTEST := $(V)/pytest -n 2 --dist worksteal

test: venv
	$(PYTEST)

quick: venv
	$(PYTEST) -m 'not slow'

# A farm of real daemons in a temporary folder: shown and ended, or left running until Ctrl-C.
demo: venv
	$(V)/python -m demo demo

run: venv
	$(V)/python -m demo run

# Real Xen hosts in emulation, with the project on them: builds, boots, plays xenlab/scenarios. Ends with 77 where it cannot be had.
xenlab: venv
	$(V)/python -m xenlab run

# Fail-over on real daemons in network namespaces: kills, cuts and stops them as halab/scenarios say. Ends with 77 where it cannot be.
halab: venv
	$(V)/python -m halab run

# How long VMs are away when hosts die in that lab, many times each; about an hour.
bench-halab: venv
	$(V)/python -m halab measure

# A real Slurm whose worker nodes are switched between two environments; under four minutes. Ends with 77 where it cannot be had.
slurmlab: venv
	$(V)/python -m slurmlab run

# Empty machines in emulation, powered on: they boot from what vmprovision has written. Ends with 77 where it cannot be had.
bootlab: venv
	$(V)/python -m bootlab run

# For real: PREFIX, DESTDIR, PYTHON, SERVICES as conf/install says.
install:
	conf/install

# Figures, with the machine they were measured on. VMHERD_SPREAD=PORT@HOST measures a real Spread daemon beside ours.
bench: venv
	$(V)/python -m bench.bus
	$(V)/python -m bench.fleet
	$(V)/python -m bench.execute
	$(V)/python -m bench.triggers
	$(V)/python -m bench.client_rest
	$(V)/python -m bench.batch
	$(V)/python -m bench.placement
	$(V)/python -m bench.vms
	$(V)/python -m bench.environments
	$(V)/python -m bench.storage

# Figures from a real Xen in emulation; about ten minutes.
bench-xen: venv
	$(V)/python -m bench.xen

# How long a protected domain is away when its host dies, on that Xen, many times for each way to die; about two hours.
bench-xenlab: venv
	$(V)/python -m xenlab measure

# The prototype's four plots; takes about half an hour.
bench-plots: venv
	$(V)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(V)/python -m bench.fleet --plots docs/plots

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
