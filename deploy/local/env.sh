# Sourced by the scripts beside it: where things are, and the commands that they share.
#
#   BINARIES  folder with the binaries, debug or release (default: target/debug)
#   STATE     what setup.sh prepares, and podman's images (default: /var/lib/daybook-local); nothing in /etc is touched

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
BINARIES=${BINARIES:-$repo/target/debug}
STATE=${STATE:-/var/lib/daybook-local}
NAMES="day-manager ingest aggregator-shard query connect gateway daybook"
PROMETHEUS=http://127.0.0.1:9090

export CONTAINERS_STORAGE_CONF=$STATE/storage.conf CONTAINERS_CONF=$STATE/containers.conf
export BUILDAH_FORMAT=docker # the other format has no HEALTHCHECK
export PATH=$STATE/venv/bin:$PATH

fail() { echo "containers: $*" >&2; exit 1; }

# Compose as in deploy/README.md, without its notes on what podman lacks.
# podman-compose wants the profile of a service that `run` names; docker compose finds it by itself.
compose() { (cd "$repo" && podman-compose --in-pod false --profile setup --profile cli --file deploy/compose.yaml "$@" 2>>"$STATE/compose.log"); }
run() { compose run --rm -T "$@"; }

names() { timeout 20 podman ps --all --filter label=io.podman.compose.project=daybook --filter "name=${1:-.}" --format '{{.Names}}' | sort; }

# Podman leaves HEALTHCHECK to systemd; this runs a container's once.
healthy() { podman healthcheck run "$1" > /dev/null 2>&1; }

# Repeats a command until it succeeds, for so many seconds: `within 30 healthy daybook_query_1`.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.3
    done
}

# --- for the checks ---

NATS_URLS=tls://nats-1:4222,tls://nats-2:4222,tls://nats-3:4222
FAILED=0
STARTED=$SECONDS

# `check NAME COMMAND…` runs a command and counts it when it fails; its output goes to a file.
check() {
    local name=$1
    shift
    if "$@" > "$STATE/check.out" 2>&1; then
        printf '%4d s  ok    %s\n' $((SECONDS - STARTED)) "$name"
    else
        printf '%4d s  FAIL  %s\n' $((SECONDS - STARTED)) "$name"
        tail -n 5 "$STATE/check.out" | cut -c1-300 | sed 's/^/              /'
        FAILED=$((FAILED + 1))
    fi
}

finish() { echo "$FAILED checks failed"; exit $((FAILED > 0)); }

# `refused TEXT COMMAND…`: the command fails, and says why.
refused() {
    local text=$1 said
    shift
    said=$("$@" 2>&1) && return 1
    echo "$said"
    grep -qiE -- "$text" <<< "$said"
}

# The command line without Compose, which takes a second and a half to start.
container() {
    podman run --rm --network daybook_default --read-only --cap-drop ALL --volume "$repo/examples:/examples:ro" \
        --volume "$repo/deploy/access/servers/tls/ca.pem:/ca.pem:ro" --env DAYBOOK_NATS=$NATS_URLS --env DAYBOOK_NATS_CA=/ca.pem "$@"
}
operator() {
    container --volume "$repo/deploy/access/services/operator.creds:/creds:ro" --env DAYBOOK_NATS_CREDENTIALS=/creds \
        docker.io/daybook/daybook "$@"
}
# `tenant FILE COMMAND…` with a token of deploy/access/tokens.
tenant() {
    container --volume "$repo/deploy/access/tokens/$1:/creds:ro" --env DAYBOOK_NATS_CREDENTIALS=/creds docker.io/daybook/daybook "${@:2}"
}

# The figures of a day, as README shows them.
figures() {
    operator query ATL arrivals --days 2013-03-10 --json \
        | python3 -c 'import json,sys; r=json.load(sys.stdin)["rows"][0]; print(r); sys.exit([r["flights"],r["distance"],r["on_time"]] != [45,34088,40])'
}

# The figures of every airport and day, by one container.
all_figures() {
    local airports
    airports=$(tail -n +2 "$repo/examples/flights/expected/march/daily.csv" | cut -d, -f1 | sort -u | tr '\n' ' ')
    container --volume "$repo/deploy/access/services/operator.creds:/creds:ro" --env DAYBOOK_NATS_CREDENTIALS=/creds \
        --entrypoint bash docker.io/daybook/daybook -euc \
        "for airport in $airports; do daybook query \$airport arrivals --days 2013-03-08..2013-03-12 --grain day --json; done" \
        | python3 "$here/figures.py" "$repo/examples/flights/expected/march/daily.csv"
}

verified() { operator verify --all | tail -1 | grep 'no differences'; }

# HTTP from inside a container, which has bash and no client: `http NAME PATH`.
http() {
    podman exec "$1" bash -c "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET $2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3 && cat <&3" | tr -d '\r'
}
ready() { http "$1" /healthz/ready | tee /dev/stderr | head -1 | grep -q ' 200 '; }
all_ready() {
    local name
    for name in $(names '_(day-manager|ingest|aggregator-shard|query|gateway)_'); do ready "$name" || { echo "$name"; return 1; }; done
}

ask_prometheus() { curl --silent --fail --get "$PROMETHEUS/api/v1/query" --data-urlencode "query=$1"; }
