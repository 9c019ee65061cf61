#!/usr/bin/env bash
# Looks at the console in headless Chromium: every screen with real data, live changes, keyboard, phone width, light and dark.
#
#   cargo build -p daybook && tests/console/run.sh target/debug/daybook [FOLDER FOR PICTURES]
#
# Needs Debian's packages chromium and chromium-driver, which root gets by apt-get where they are missing. Selenium comes from PyPI
# and axe-core from npm, once, into the cache. Exits with 77, and says why in one line, where a browser or selenium cannot be had;
# without axe-core its rules alone are left out. Takes two minutes with all that there; ends by itself after three.
set -euo pipefail
daybook=$(readlink -f "$1")
here=$(dirname "$(readlink -f "$0")")
flights=$here/../../examples/flights
SELENIUM=4.51.0
AXE=4.14.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/daybook

LONGEST=180
FETCHING=300

skip() { echo "skipped: $1"; exit 77; }
has_browser() { command -v chromium > /dev/null && command -v chromedriver > /dev/null; }
if ! has_browser && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { timeout "$FETCHING" apt-get update && timeout "$FETCHING" apt-get install --yes --no-install-recommends chromium chromium-driver; } \
        > /dev/null 2>&1 || true
fi
has_browser || skip "there is no chromium with its chromedriver (apt-get install chromium chromium-driver)"
venv=$cache/selenium-$SELENIUM
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import selenium' 2> /dev/null; then
    { python3 -m venv "$venv" && timeout "$FETCHING" "$venv/bin/pip" install --quiet --disable-pip-version-check "selenium==$SELENIUM"; } \
        > /dev/null 2>&1 || { rm -rf "$venv"; skip "selenium cannot be fetched from PyPI"; }
fi
axe=$cache/axe-core-$AXE
if [ ! -f "$axe/package/axe.min.js" ]; then
    mkdir -p "$axe"
    (cd "$axe" && timeout "$FETCHING" npm pack --silent "axe-core@$AXE" > /dev/null 2>&1 && tar -xzf "axe-core-$AXE.tgz" package/axe.min.js) \
        || echo "axe-core cannot be fetched: its rules are left out"
fi

folder=$(mktemp -d)
pictures=${2:-$folder/pictures}
mkdir -p "$pictures"
up=()
end() { for one in "${up[@]}"; do kill "$one" 2> /dev/null || true; wait "$one" 2> /dev/null || true; done; rm -rf "$folder"; }
trap end EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start NAME ARGUMENTS…: one Daybook; sets nats and http.
start() {
    local name=$1; shift
    nats=$(free_port) http=$(free_port)
    "$daybook" up --data "$folder/$name" --port "$nats" --http "127.0.0.1:$http" --partitions 2 "$@" > "$folder/$name.log" 2>&1 &
    up+=($!)
    for _ in $(seq 300); do
        curl --silent --fail "http://127.0.0.1:$http/healthz/ready" > /dev/null && return
        kill -0 "${up[-1]}" || { cat "$folder/$name.log"; exit 1; }
        sleep 0.2
    done
}

start open
export DAYBOOK_NATS=nats://127.0.0.1:$nats
sed 's/first_day: 2013-01-01/first_day: 2013-03-07/' "$flights/tenants.yaml" > "$folder/tenants.yaml"
"$daybook" apply --wait -f "$flights/kind.yaml" -f "$flights/views.yaml" -f "$folder/tenants.yaml" -f "$here/shop.yaml" > /dev/null
"$daybook" replay "$flights/data/march.ndjson.zst" --kind flight --clock seen_at --until 2013-03-10T20:00:00Z > "$folder/replay.log" 2>&1 \
    || [ $? -eq 3 ] || { cat "$folder/replay.log"; exit 1; }
open_http=http://127.0.0.1:$http

operator=$("$daybook" key create --all-tenants --scopes publish,query --api-keys "$folder/keys.json" 2> /dev/null)
client=$("$daybook" key create acme --scopes query --api-keys "$folder/keys.json" 2> /dev/null)
open_nats=$DAYBOOK_NATS
start closed --api-keys "$folder/keys.json"
DAYBOOK_NATS=nats://127.0.0.1:$nats "$daybook" apply --wait -f "$here/shop.yaml" > /dev/null

DAYBOOK_NATS=$open_nats timeout "$LONGEST" "$venv/bin/python" -B "$here/look.py" --daybook "$daybook" --url "$open_http" --flights "$flights/data/march.ndjson.zst" \
    --closed "http://127.0.0.1:$http" --operator "$operator" --client "$client" --axe "$axe/package/axe.min.js" --pictures "$pictures"
