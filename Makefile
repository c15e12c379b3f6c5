# Every path here is relative, so the checkout may lie in a folder with spaces in its name.
PYTHON ?= python3
OURS := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup workbook run test test-fast test-netns test-vagrant bench repeats clean

help:       ## list these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup:      ## virtual environment, pinned packages, missing programs (Consul, Vault, MariaDB)
	@$(PYTHON) helpers/bootstrap.py

workbook: setup  ## set up, then open JupyterLab on the first notebook
	@$(OURS) -m helpers.workbook

run: setup  ## set up, then run every notebook on a real lab into out/, with one HTML report
	@$(OURS) -m helpers.report

test: test-fast  ## set up, then every test: style, types, unit, a real lab, the notebooks
	$(OURS) -m pytest tests/lab
	$(OURS) -m pytest --nbval-lax --nbval-current-env --nbval-sanitize-with tests/sanitize.cfg \
	  --nbval-cell-timeout=240 notebooks

test-fast: setup  ## set up, then the tests that need no lab: about a minute
	$(OURS) -m ruff check .
	$(OURS) -m ruff format --check .
	$(OURS) -m mypy
	$(OURS) -m pytest tests/unit

test-netns: setup  ## set up, then the tests of the netns driver (Linux, root): about 18 minutes
	@[ "$$(id -u)" = 0 ] || { echo "make test-netns needs root: its machines have networks of their own."; exit 1; }
	@LAB_DRIVER=netns .venv/bin/lab doctor --fix
	$(OURS) -m pytest tests/netns

test-vagrant: setup  ## set up, then the tests of the vagrant driver (containers, root): about 20 minutes
	@[ "$$(id -u)" = 0 ] || { echo "make test-vagrant needs root: its machines have networks of their own."; exit 1; }
	@LAB_DRIVER=vagrant VAGRANT_DEFAULT_PROVIDER=docker .venv/bin/lab doctor --fix
	@LAB_DRIVER=netns .venv/bin/lab doctor --fix  # `ip` and `nft`, which show that nothing was left
	@# Vagrant's plugin, with which libvirt's part of lab/Vagrantfile is validated; without it that one test is skipped.
	@dpkg -s vagrant-libvirt >/dev/null 2>&1 || apt-get install -qqy --no-install-recommends vagrant-libvirt >/dev/null || true
	$(OURS) -m pytest tests/vagrant

bench: setup  ## set up, then measure: how fast the lab starts, what rotation costs
	@set -e; for name in lab_up todo_throughput todo_rotation recorder; do \
	  echo "== tests/bench/$$name.py"; $(OURS) tests/bench/$$name.py; done

repeats: setup  ## set up, then every fault many times against what is allowed: about 80 minutes
	$(OURS) tests/bench/repeats.py

clean:      ## end the lab, remove .lab, out/ and .venv; the programs' cache stays
	@if [ -x $(OURS) ] && [ -d .lab ]; then env -u LAB_HOME -u LAB_DRIVER .venv/bin/lab down --purge; fi
	rm -rf out .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache *.egg-info
