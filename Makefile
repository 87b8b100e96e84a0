# Everything one does with WebShell. `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-operator image dist

ARGS ?=
IMAGE ?= webshell:dev

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

run: ## build, start `webshell local` and print the address of a terminal (ARGS="-f examples" adds shells)
	@scripts/require cargo node npm
	cargo run --release --locked -- local $(ARGS)

test: ## everything that must hold; installs what it needs
	@scripts/test

check: ## the quick part of `test`, for the inner loop
	@scripts/test --quick

bench: ## benchmarks side by side with peers; writes docs/benchmarks.md
	@bench/run

bench-operator: ## the controller and a gateway against a real API server, as root; writes docs/benchmarks-operator.md
	@bench/operator/run

image: ## build the container image (IMAGE=webshell:dev, ARGS="--build-arg RUST_IMAGE=…" for other bases)
	@scripts/image $(IMAGE) $(ARGS)

dist: ## write dist/: install.yaml for kubectl, and the packaged Helm chart
	@scripts/dist
