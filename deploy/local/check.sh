#!/usr/bin/env bash
# Checks what up.sh brought up: the flights as deploy/README.md runs them, who may read what, and what each container may do.
# Ends with non-zero when a check fails.
set -uo pipefail
. "$(dirname "$0")/env.sh"
FLIGHTS="/examples/flights/kind.yaml /examples/flights/views.yaml /examples/flights/tenants.yaml"

# --- the example of deploy/README.md, by its own commands ---

published() { run daybook replay /examples/flights/data/march.ndjson.zst --kind flight --clock seen_at | grep '13,543 events published'; }
reported() { run daybook report ATL 2013-03-10 | grep '135 published = 135 counted'; }
token() { run token create "$1" --out "/access/tokens/$2"; }
own_figures() { run tenant query ATL arrivals --days 2013-03-10 --json --nats-credentials /tokens/atl.creds | grep '"distance": 34088'; }
check "definitions are applied" run daybook apply -f $FLIGHTS --wait
check "flights are published" published
check "a report is sealed" within 20 reported
check "figures of every airport and day are as expected" within 20 all_figures
check "verify --all" verified
check "status" within 20 operator status
check "every service is ready" within 20 all_ready

# --- tenants and strangers ---

check "a token is made" token ATL atl.creds
check "a tenant reads its own figures" within 10 own_figures
check "it does so by its token alone" tenant atl.creds query ATL arrivals --days 2013-03-10
check "a tenant reads no other's figures" refused 'credentials for tenant BOS' tenant atl.creds query BOS arrivals --days 2013-03-10
check "a tenant reads no other's report" refused 'no answer|not permit|credentials for tenant BOS' tenant atl.creds report BOS 2013-03-10
check "a tenant cannot replay the log" refused 'not permit|permission' tenant atl.creds verify --all
check "a tenant cannot define anything" refused 'not permit|permission' tenant atl.creds apply -f $FLIGHTS
check "a token is revoked" run token revoke ATL --all
revoked() { refused 'authorization' tenant atl.creds query ATL arrivals --days 2013-03-10; }
check "a revoked token connects no more" within 10 revoked
check "no credentials, no connection" refused 'authorization' container docker.io/daybook/daybook status
plain() {
    container --env DAYBOOK_NATS_CA=/etc/ssl/certs/ca-certificates.crt --volume "$repo/deploy/access/services/operator.creds:/creds:ro" \
        --env DAYBOOK_NATS_CREDENTIALS=/creds docker.io/daybook/daybook status
}
check "servers have a certificate of this authority only" refused 'certificate' plain
reaches() { podman exec "$1" bash -c "exec 3<>/dev/tcp/$2/$3"; }
check "servers answer on 4222" reaches daybook_query_1 nats-1 4222
greets() { podman exec daybook_query_1 bash -c "exec 3<>/dev/tcp/nats-1/4222 && read -r -t 2 line <&3 && echo \"\$line\""; }
tls_required() { greets | grep '"tls_required":true'; }
check "and speak only TLS" tls_required
check "the monitoring port is closed to other containers" refused 'refused' reaches daybook_query_1 nats-1 8222

# --- what a container may do, whatever its image says ---

# `confined CONTAINER USER`: user and group, no capabilities, no way to more, a root that cannot be written, three limits.
confined() {
    local name=$1 user=$2 status
    status=$(podman exec "$name" grep -E '^(Uid|Gid|CapEff|CapBnd|NoNewPrivs):' /proc/1/status) || return 1
    printf '%s\n' "$name" "$status"
    local line
    for line in "Uid:\s+$user\s" "Gid:\s+$user\s" 'CapEff:\s+0+$' 'CapBnd:\s+0+$' 'NoNewPrivs:\s+1$'; do
        grep -qE "^$line" <<< "$status" || return 1
    done
    [ "$(podman inspect "$name" --format '{{.HostConfig.ReadonlyRootfs}}')" = true ] || return 1
    refused 'read-only' podman exec "$name" touch /written || return 1
    local limits='{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}'
    podman inspect "$name" --format "$limits" | grep -E '^[1-9][0-9]* [1-9][0-9]* [1-9][0-9]*$'
}
all_confined() {
    local name
    for name in $(names '_(nats-.|day-manager|ingest|aggregator-shard|query|gateway)_'); do confined "$name" 10001 || return 1; done
    confined daybook_prometheus_1 65534
}
check "no root, no capabilities, a read-only root, limits" all_confined
one_credential() {
    local service
    for service in ingest aggregator-shard query; do
        [ "$(podman exec "daybook_${service}_1" ls /run/secrets | sort | xargs)" = "$(printf '%s\n' ca "$service" | sort | xargs)" ] || return 1
    done
}
check "a service has its own credentials only" one_credential
group() { podman run --rm --entrypoint id "docker.io/daybook/$1" | grep 'uid=10001(daybook) gid=10001(daybook)'; }
stripped() {
    podman run --rm --entrypoint cat "docker.io/daybook/$1" "/usr/local/bin/$1" | python3 -c '
import struct, sys
elf = sys.stdin.buffer.read()
table, size, count = struct.unpack_from("<Q", elf, 40)[0], *struct.unpack_from("<HH", elf, 58)
kinds = [struct.unpack_from("<I", elf, table + size * i + 4)[0] for i in range(count)]
sys.exit(not kinds or 2 in kinds)  # 2 is a table of symbols, which strip takes away'
}
versioned() { podman run --rm "docker.io/daybook/$1" --version | grep -E "^$1 [0-9]+\.[0-9]+\.[0-9]+$"; }
for name in $NAMES; do
    check "$name is user and group 10001" group "$name"
    check "$name is stripped" stripped "$name"
    check "$name says its version" versioned "$name"
done

finish
