# In place of rust:1.95-slim-trixie: a cargo that hands over built binaries, and the real strip.
FROM debian:trixie-slim
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY cargo /usr/local/bin/
COPY binaries /prebuilt
