# Rhubarb in one image: `server`, `worker` and `queuectl`. docker build -t rhubarb .
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# Static, so that what runs them needs nothing. Named, so that procedural macros are built as ever.
# The allocator is built for the largest pages that a kernel of the machine's kind may have.
RUN target="$(uname -m)-unknown-linux-gnu" \
 && if [ "$(uname -m)" = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" -p server -p worker --bins \
 && mkdir /out && cp "target/$target/release/server" "target/$target/release/worker" "target/$target/release/queuectl" /out/

FROM scratch
COPY --from=build /out/server /out/worker /out/queuectl /usr/local/bin/
# The authorities that TLS to Redis and Postgres trusts, unless it is told others.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/rhubarb/
USER 65532:65532
# A container has its own address; who may reach it is the network's to say.
ENV HOST=0.0.0.0 PORT=8080
EXPOSE 8080
# Of what a container runs: compose.yaml. This asks Redis; for a server a load balancer asks /health/ready besides.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["queuectl", "status", "--json"]
STOPSIGNAL SIGTERM
CMD ["server"]
