#!/usr/bin/env bash
# Takes everything down, with volumes, network and deploy/access. Images stay.
set -uo pipefail
. "$(dirname "$0")/env.sh"
for name in $(names) daybook-anchor; do podman rm --force --time 0 --volumes "$name"; done > /dev/null 2>&1
podman volume rm --force $(podman volume ls --quiet --filter label=io.podman.compose.project=daybook) > /dev/null 2>&1
podman network rm --force daybook_default > /dev/null 2>&1
rm -rf "$repo/deploy/access"
