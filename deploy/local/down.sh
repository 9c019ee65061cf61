#!/usr/bin/env bash
# Takes everything down, with volumes, network and deploy/access. Images stay.
set -uo pipefail
. "$(dirname "$0")/env.sh"
# Podman can wait for ever on a container that keeps ending and being restarted. So containers are stopped first, which ends
# that, and each command has a time-out and a second try.
for try in 1 2 3; do
    left=$(names) || fail "podman does not answer"
    podman container exists daybook-anchor && left+=" daybook-anchor"
    [ -n "${left// /}" ] || break
    for name in $left; do timeout 20 podman stop --time 0 "$name"; done > /dev/null 2>&1
    for name in $left; do timeout 20 podman rm --force --time 0 --volumes "$name"; done > /dev/null 2>&1
done
[ -z "$(names)" ] || fail "cannot be removed: $(names | xargs)"
for volume in $(podman volume ls --quiet --filter label=io.podman.compose.project=daybook); do
    timeout 20 podman volume rm "$volume"
done > /dev/null 2>&1
timeout 20 podman network rm --force daybook_default > /dev/null 2>&1
rm -rf "$repo/deploy/access"
