#!/usr/bin/env bash
# Brings deploy/compose.yaml up as deploy/README.md says, and waits until every container is healthy.
# Jaeger and Grafana are left out: their images come from a registry only.
set -euo pipefail
. "$(dirname "$0")/env.sh"
HEALTHY_SECONDS=60
UP="nats-1 nats-2 nats-3 day-manager ingest aggregator-shard query gateway prometheus"

# With RESTORED set, deploy/access and the volumes are there already.
[ -n "${RESTORED:-}" ] || "$here/down.sh"
: > "$STATE/compose.log"
# A bridge takes the lowest address (MAC) of its ports, so it changes as containers come and go, and those that know the
# old one reach neither names nor the outside for 20 to 60 s. One container that stays keeps the bridge; a set MAC stays.
podman network create --label io.podman.compose.project=daybook --label com.docker.compose.project=daybook \
    daybook_default > /dev/null 2>> "$STATE/compose.log"
podman run --detach --name daybook-anchor --network daybook_default docker.io/library/nats:2.15-alpine sleep 86400 > /dev/null 2>> "$STATE/compose.log"
bridge=$(podman network inspect daybook_default | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["network_interface"])')
ip link set dev "$bridge" address 02:00:00:00:00:01

[ -n "${RESTORED:-}" ] || run access > "$STATE/access.log" || fail "deploy/access cannot be made: see $STATE/compose.log"
compose up --no-build --detach $UP > "$STATE/up.log" || fail "compose does not come up: see $STATE/compose.log"
for name in $(names); do
    within $HEALTHY_SECONDS healthy "$name" || { podman logs --tail 5 "$name" >&2; fail "$name is not healthy"; }
done
echo "up: $(names | wc -l) containers are healthy"
