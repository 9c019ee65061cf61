#!/usr/bin/env bash
# Kills, pauses and restarts what check.sh checked, one container at a time, and sees that figures, readiness, status, alerts
# and the sealed reports are as before. `faults.sh short` kills one of each and does nothing else.
# Ends with non-zero when a check fails.
set -uo pipefail
. "$(dirname "$0")/env.sh"
SHORT=${1:-}
# A NATS election takes 2 to 5 s, and a member is taken for gone after 2.5 s of silence.
ELECTION=20
# A container's health check, a shard's replay and a member's return.
BACK=60
# Stopping a service: handing over takes under a second as a rule, 15 s at most.
STOP_MS=10000

back() { within $BACK healthy "$1"; }
whole() { operator status; }
kill_and_wait() { podman kill "$1" && sleep "$2"; }

# Nothing is missing at the end of a fault: each container healthy, each process ready, status whole.
recovered() {
    check "$1 comes back healthy" back "$2"
    check "every process is ready after $1" within $BACK all_ready
    check "status is whole after $1" within $ELECTION whole
}

for name in nats-2 aggregator-shard ingest day-manager query; do
    container=daybook_${name}_1
    # Longer than the silence after which others take over.
    check "$name is killed" kill_and_wait "$container" 3
    check "figures with $name killed" within $ELECTION figures
    podman start "$container" > /dev/null 2>&1
    recovered "$name" "$container"
done
[ "$SHORT" = short ] && { check "verify --all after kills" within $ELECTION verified; finish; }

# --- back within the 2.5 s of silence, as `restart: unless-stopped` does it: others never see them gone ---

for name in ingest day-manager query nats-3; do
    container=daybook_${name}_1
    podman kill "$container" > /dev/null 2>&1; sleep 1; podman start "$container" > /dev/null 2>&1
    recovered "$name, back at once" "$container"
done
for trial in 1 2 3; do
    podman kill daybook_aggregator-shard_1 > /dev/null 2>&1; sleep 1.5; podman start daybook_aggregator-shard_1 > /dev/null 2>&1
    check "the killed shard is back, trial $trial" back daybook_aggregator-shard_1
    check "figures after trial $trial" within $ELECTION figures
    check "both shards are ready after trial $trial" within 15 all_ready
done
check "every process is ready" within $BACK all_ready

# --- pauses: a process that hangs, and comes back with an old idea of what is its own ---

for name in nats-3 aggregator-shard ingest day-manager query; do
    container=daybook_${name}_1
    podman pause "$container" > /dev/null 2>&1; sleep 5
    check "figures with $name paused" within $ELECTION figures
    sleep 5; podman unpause "$container" > /dev/null 2>&1
    recovered "$name, paused for 10 s" "$container"
done

# --- stops in good order: the signal of compose.yaml, its time, exit code 0 ---

# `stopped CONTAINER`: ends by itself before compose would kill it.
stopped() {
    local from=$(date +%s%N) ms code
    podman stop --time 45 "$1" || return 1
    ms=$((($(date +%s%N) - from) / 1000000))
    code=$(podman inspect "$1" --format '{{.State.ExitCode}}')
    echo "$1: exit code $code after $ms ms" | tee -a "$STATE/stops.txt"
    [ "$code" = 0 ] && [ $ms -lt "$2" ]
}
: > "$STATE/stops.txt"
for name in query ingest aggregator-shard day-manager; do
    check "$name stops in order" stopped "daybook_${name}_1" $STOP_MS
    check "figures with $name stopped" within $ELECTION figures
    podman start "daybook_${name}_1" > /dev/null 2>&1
    recovered "$name, restarted" "daybook_${name}_1"
done
for name in nats-1 nats-2 nats-3; do
    # A lame duck: 5 s of grace, then at most a client a second.
    check "$name leaves as a lame duck" stopped "daybook_${name}_1" 45000
    check "figures with $name stopped" within $ELECTION figures
    podman start "daybook_${name}_1" > /dev/null 2>&1
    recovered "$name, restarted" "daybook_${name}_1"
done
sed 's/^/        /' "$STATE/stops.txt"

check "figures of every airport and day are as before" within $ELECTION all_figures
check "verify --all" within $ELECTION verified
finish
