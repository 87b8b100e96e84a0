# The image: one binary, with the page inside, on a base with little but a C library: no shell, no package manager. It runs as a user
# without rights and writes nothing, so that its root may be read-only.
#
#   docker build .                                    builds everything
#   docker build --target prebuilt .                  takes ./webshell, built elsewhere (BINARY=… names another path)
#   docker build --platform linux/arm64 .             for arm64; untested
#
# The bases are arguments, for those who may not pull from everywhere.

ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BASE_IMAGE} AS base
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/webshell"]

FROM base AS prebuilt
ARG BINARY=webshell
COPY --chmod=0555 ${BINARY} /usr/local/bin/webshell

FROM ${NODE_IMAGE} AS node

FROM ${RUST_IMAGE} AS build
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM base
COPY --from=build --chmod=0555 /src/target/release/webshell /usr/local/bin/webshell
