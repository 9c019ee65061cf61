#!/usr/bin/env bash
# Exports the flights of a whole Daybook and reads the files with DuckDB and pandas, both from PyPI:
#
#   cargo build -p daybook && tests/python/exports.sh target/debug/daybook
#
# Takes a minute, and some 250 MB in the cache once. Exits with 77 where the packages cannot be had.
set -euo pipefail
daybook=$(readlink -f "$1")
here=$(dirname "$(readlink -f "$0")")
flights=$here/../../examples/flights
DUCKDB=2.0.1 PANDAS=3.1.1 PYARROW=26.0.1
venv=${XDG_CACHE_HOME:-$HOME/.cache}/daybook/exports-$DUCKDB-$PANDAS-$PYARROW

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import duckdb, pandas, pyarrow' 2> /dev/null; then
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check "duckdb==$DUCKDB" "pandas==$PANDAS" \
        "pyarrow==$PYARROW" || { rm -rf "$venv"; echo "skipped: DuckDB and pandas cannot be fetched"; exit 77; }
fi

folder=$(mktemp -d)
up=
end() { [ -z "$up" ] || kill "$up" 2> /dev/null || true; [ -z "$up" ] || wait "$up" 2> /dev/null || true; rm -rf "$folder"; }
trap end EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$daybook" up --data "$folder/data" --port "$port" --partitions 2 > "$folder/up.log" 2>&1 &
up=$!
export DAYBOOK_NATS=nats://127.0.0.1:$port
for _ in $(seq 300); do
    "$daybook" get clocks > /dev/null 2>&1 && break
    kill -0 "$up" || { cat "$folder/up.log"; exit 1; }
    sleep 0.2
done
sed 's/first_day: 2013-01-01/first_day: 2013-03-08/' "$flights/tenants.yaml" > "$folder/tenants.yaml"
"$daybook" apply --wait -f "$flights/kind.yaml" -f "$flights/views.yaml" -f "$folder/tenants.yaml" > /dev/null
"$daybook" replay "$flights/data/march.ndjson.zst" --kind flight --clock seen_at > "$folder/replay.log" 2>&1 \
    || [ $? -eq 3 ] || { cat "$folder/replay.log"; exit 1; }
for format in parquet csv ndjson; do
    "$daybook" export arrivals --format $format --to "$folder/$format" --until 2013-03-12 | tail -1
done
"$daybook" export arrivals --to "$folder/parquet" --until 2013-03-12 --json > "$folder/again.json"
"$venv/bin/python" "$here/exports.py" "$folder" "$flights/expected/march/daily.csv"
