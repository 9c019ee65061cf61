#!/usr/bin/env bash
# Asks a whole Daybook by HTTP for what its OpenAPI document promises and forbids, with schemathesis from PyPI:
#
#   cargo build -p daybook && tests/python/http_api.sh target/debug/daybook
#
# Takes two minutes, and some 80 MB in the cache once; ends by itself after three. Exits with 77, and says why in one line, where
# schemathesis cannot be had.
# Left out: the endless stream, and `positive_data_acceptance`, for no schema says which names, cursors and conditions exist.
set -euo pipefail
daybook=$(readlink -f "$1")
VERSION=4.32.5
SECONDS_EACH=45
# The last case may be under way when the time is over.
LONGEST_EACH=75
cache=${XDG_CACHE_HOME:-$HOME/.cache}/daybook/schemathesis-$VERSION

if [ ! -x "$cache/bin/schemathesis" ]; then
    { python3 -m venv "$cache" && timeout 300 "$cache/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$VERSION"; } \
        > /dev/null 2>&1 || { rm -rf "$cache"; echo "skipped: schemathesis cannot be fetched from PyPI"; exit 77; }
fi

folder=$(mktemp -d)
up=
end() { [ -z "$up" ] || kill "$up" 2> /dev/null || true; [ -z "$up" ] || wait "$up" 2> /dev/null || true; rm -rf "$folder"; }
trap end EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
nats=$(free_port) http=$(free_port)

cat > "$folder/shop.yaml" << 'YAML'
kinds:
  - { name: order, mode: entity, dimensions: [store, customer], measures: [{ name: total, type: decimal, scale: 2 }] }
views:
  - { name: sales, kind: order, group_by: [store], metrics: [orders: count, revenue: sum(total)] }
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: "00:00" }
YAML
key=$("$daybook" key create --all-tenants --scopes publish,query --api-keys "$folder/keys.json" 2> /dev/null)
"$daybook" up --data "$folder/data" --port "$nats" --http "127.0.0.1:$http" --partitions 2 --api-keys "$folder/keys.json" \
    --token-requests-per-second 100000 > "$folder/up.log" 2>&1 &
up=$!
for _ in $(seq 300); do
    curl --silent --fail "http://127.0.0.1:$http/healthz/ready" > /dev/null && break
    kill -0 "$up" || { cat "$folder/up.log"; exit 1; }
    sleep 0.2
done
"$daybook" apply --file "$folder/shop.yaml" --nats "nats://127.0.0.1:$nats" > /dev/null

# Once with a tenant that there is, so that questions are answered, and once with anything.
cd "$folder"
for parameters in 'tenant = "acme"
kind = "order"
view = "sales"' ''; do
    printf '[parameters]\n%s\n' "$parameters" > schemathesis.toml
    timeout "$LONGEST_EACH" "$cache/bin/schemathesis" run "http://127.0.0.1:$http/v1/openapi.json" --header "Authorization: Bearer $key" \
        --exclude-operation-id followView --exclude-checks positive_data_acceptance --max-examples 25 \
        --max-time "$SECONDS_EACH" --request-timeout 15 --seed 1 --continue-on-failure --no-color > report.txt 2>&1 \
        || { cut -c 1-1000 report.txt; exit 1; }
    grep 'generated, ' report.txt
done
