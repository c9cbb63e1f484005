# The daemon alone; nothing else is in the image but Debian.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN cargo build --release --locked --bin polkafleet

FROM debian:bookworm-slim
COPY --from=build /src/target/release/polkafleet /usr/local/bin/polkafleet
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/polkafleet"]
CMD ["run", "--in-cluster"]
