# The developer's whole interface. Everything runs from .venv, which setup makes and keeps as uv.lock says.
MAKEFLAGS += --no-print-directory
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
bin := .venv/bin
in_kube := scripts/namespaced.sh --as-root $(bin)/python -m vallum.lab.kube inside --

.PHONY: help setup demo test mutants check bench kube kube-up kube-down test-kube clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing (apt, uv, the locked environment); quick when nothing is
	@scripts/setup.sh

demo: setup ## the main job in half a minute: a small cluster, policies, packets, proof
	@scripts/namespaced.sh $(bin)/vallum demo

test: setup ## every test, those with packets included; ARGS="-k name" for some
	@scripts/namespaced.sh --or-without $(bin)/python -m pytest -n auto --dist loadfile $(ARGS)

mutants: setup ## whether the tests notice a hundred planted bugs, in some minutes; ARGS="name or file" for some
	@scripts/namespaced.sh $(bin)/python tests/mutants/run.py $(ARGS)

check: setup ## format, lint, types, and the contracts between rooms
	$(bin)/ruff format --check src tests
	$(bin)/ruff check src tests
	$(bin)/mypy
	$(bin)/lint-imports

bench: setup ## what a request pays for policies, in under three minutes
	@scripts/namespaced.sh $(bin)/vallum bench policy-cost --quick

kube: setup ## what a real Kubernetes on this machine needs: packages, and binaries built from source, once, in ten minutes
	@scripts/setup.sh --kube
	@$(bin)/python -m vallum.lab.kube build

kube-up: kube ## a real Kubernetes of two nodes in the background, as root; ARGS="--proxy iptables --cni bridge" for another
	@scripts/namespaced.sh --as-root $(bin)/python -m vallum.lab.kube up $(ARGS)

kube-down: ## end it and leave nothing of it
	@scripts/namespaced.sh --as-root $(bin)/python -m vallum.lab.kube down

test-kube: kube ## the tests on a real Kubernetes, as root, then beside another plugin; ARGS="-k name" for some, once
	@$(in_kube) $(bin)/python -m pytest tests/kube $(ARGS)
ifndef ARGS
	@$(in_kube) env VALLUM_KUBE_WIRING=found VALLUM_KUBE_PROXY=iptables $(bin)/python -m pytest tests/kube
	@$(in_kube) env VALLUM_KUBE_WIRING=chained VALLUM_KUBE_PROXY=nftables $(bin)/python -m pytest tests/kube
endif

clean: ## remove what setup, tests and tools made here
	rm -rf .venv .tools .hypothesis .mypy_cache .ruff_cache .import_linter_cache dist
	find src tests -name __pycache__ -prune -exec rm -rf {} +
