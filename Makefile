# Everything one does with WebShell. `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run test check bench image dist

ARGS ?=
IMAGE ?= webshell:dev

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

run: ## build, start `webshell local` and print the address of a terminal (ARGS="-f examples" adds shells)
	@scripts/require cargo node npm
	cargo run --release --locked -- local $(ARGS)

test: ## everything that must hold; installs what it needs
	@scripts/test

check: ## the quick part of `test`, for the inner loop
	@scripts/test --quick

bench: ## benchmarks side by side with peers; writes docs/benchmarks.md
	@bench/run

image: ## build the container image (IMAGE=webshell:dev, ARGS="--build-arg RUST_IMAGE=…" for other bases)
	@scripts/image $(IMAGE) $(ARGS)

dist: ## write dist/: install.yaml for kubectl, and the packaged Helm chart
	@scripts/dist
