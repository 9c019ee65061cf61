#!/usr/bin/env bash
# Builds the images of deploy/Dockerfile, unchanged, on stand-ins for the images that it begins with.
# Exit code 77: something outside the project is missing, and the last line says what.
# The stand-in for cargo hands over the binaries of BINARIES: everything but the compilation is the Dockerfile's.
set -euo pipefail
. "$(dirname "$0")/env.sh"

for name in $NAMES; do
    [ -x "$BINARIES/$name" ] || fail "$BINARIES/$name is missing: cargo build -p ${NAMES// / -p }"
done
context=$STATE/context
rm -rf "$context" && mkdir -p "$context/binaries"
for name in $NAMES; do cp "$BINARIES/$name" "$context/binaries/"; done
cp "$here"/images/* "$(readlink -f "$(command -v busybox)")" "$(command -v prometheus)" "$context/"
: > "$STATE/build.log"
# The pinned server, which `daybook` finds or fetches.
server=$("$BINARIES/daybook" broker 2>> "$STATE/build.log") || { echo "skipped: nats-server cannot be fetched ($STATE/build.log)"; exit 77; }
cp "$server" "$context/nats-server"

build() {
    buildah bud -q --layers "$@" >> "$STATE/build.log" 2>&1 && return
    grep -qE 'Failed to fetch|Temporary failure|Could not connect|Unable to locate package' "$STATE/build.log" \
        && { echo "skipped: an image cannot install Debian's packages ($STATE/build.log)"; exit 77; }
    fail "an image cannot be built: see $STATE/build.log"
}
build --tag docker.io/library/nats:2.15-alpine --file "$context/nats.Dockerfile" "$context"
build --tag docker.io/prom/prometheus:v3.5.0 --file "$context/prometheus.Dockerfile" "$context"
build --tag docker.io/library/rust:1.95-slim-trixie --file "$context/rust.Dockerfile" "$context"
for name in $NAMES; do
    build --tag "docker.io/daybook/$name" --file "$repo/deploy/Dockerfile" --target "$name" "$repo"
done
rm -rf "$context"
echo "built: $(podman images --filter 'reference=docker.io/daybook/*' --format '{{.Repository}} {{.Size}}' | sed 's|docker.io/||' | sort | paste -sd ',' | sed 's/,/, /g')"
