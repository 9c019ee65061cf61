#!/usr/bin/env bash
# Does what the first page of deploy/README.md says about upgrades, certificates, backups and restoring, and checks that the
# flights are as before. Ends with non-zero when a check fails.
set -uo pipefail
. "$(dirname "$0")/env.sh"
BACKUP=$STATE/backup
BACK=60
SERVICES="aggregator-shard query ingest day-manager"
SERVERS="nats-1 nats-2 nats-3"

wait_healthy() {
    local name
    for name in $(names '_(nats-.|day-manager|ingest|aggregator-shard|query)_'); do within $BACK healthy "$name" || { echo "$name"; return 1; }; done
}
started() { podman inspect "$1" --format "{{.Created}}"; }
# podman-compose has no --wait, and makes anew only what --force-recreate says.
recreated() {
    local before
    before=$(started "daybook_$1_1")
    compose up --no-build --no-deps --force-recreate --detach "$1" || return 1
    wait_healthy && [ "$(started "daybook_$1_1")" != "$before" ]
}
for name in $SERVICES $SERVERS; do
    check "$name is made anew, as for an upgrade" recreated "$name"
    check "figures after that" within $BACK figures
done

serial() { python3 -c 'import ssl,sys; print(ssl._ssl._test_decode_cert(sys.argv[1])["serialNumber"])' "$repo/deploy/access/servers/tls/cert.pem"; }
renewed() {
    local before server
    before=$(serial)
    run access || return 1
    [ "$(serial)" != "$before" ] || return 1
    for server in $SERVERS; do podman restart --time 45 "daybook_${server}_1" && within $BACK healthy "daybook_${server}_1" || return 1; done
}
check "the servers' certificate is renewed" renewed
check "every process is ready with it" within $BACK all_ready
check "figures with it" within $BACK figures

volume() { # `volume nats-1 OPTIONS…`: tar, with the server's volume at /data and the backup at /backup
    local server=$1
    shift
    podman run --rm --user 0 --entrypoint tar --volume "daybook_$server:/data" --volume "$BACKUP:/backup" docker.io/daybook/daybook -C /data "$@"
}
backed_up() {
    local name
    rm -rf "$BACKUP" && mkdir -p "$BACKUP" && cp -a "$repo/deploy/access" "$BACKUP/" || return 1
    for name in $(names '_(day-manager|ingest|aggregator-shard|query|nats-.)_' | tac); do podman stop --time 45 "$name" || return 1; done
    for name in $SERVERS; do volume "$name" -cf "/backup/$name.tar" . || return 1; done
}
restored() {
    local server
    "$here/down.sh"
    [ ! -e "$repo/deploy/access" ] && cp -a "$BACKUP/access" "$repo/deploy/access" || return 1
    for server in $SERVERS; do
        podman volume create --label io.podman.compose.project=daybook "daybook_$server" && volume "$server" -xpf "/backup/$server.tar" || return 1
    done
    RESTORED=yes "$here/up.sh"
}
check "everything stops, and is backed up" backed_up
check "it is restored where nothing was left" restored
check "figures of every airport and day are as before" within $BACK all_figures
check "verify --all" within $BACK verified
check "status" within $BACK operator status
rm -rf "$BACKUP"
finish
