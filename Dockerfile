FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY tests/samples tests/samples
RUN cargo build --release --locked --bin polkafleet

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/polkafleet /usr/local/bin/polkafleet
ENTRYPOINT ["/usr/local/bin/polkafleet"]
CMD ["run", "--in-cluster"]
