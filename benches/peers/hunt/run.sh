#!/usr/bin/env bash
# The same generated hunt, played by the same people over HTTP, in each of these forms, one after the other, on the same machine:
#
#   sqlite            Flask, Redis and memcached, on SQLite
#   postgresql        the same on PostgreSQL, which waits for the disk at each commit, its default
#   postgresql-async  the same, without waiting for the disk: like SQLite and the broker as they are configured here
#   hunt              the engine of examples/hunt, Daybook and its broker
#
#   cargo build --release -p daybook -p hunt
#   benches/peers/hunt/run.sh target/release/hunt [PLAYERS] [TEAMS] [SECONDS] [THINK] [RIGHT] [FORM,FORM,…]
#
# Every form is compared with the same plain recomputation of its records, and with what players were told. Needs Debian's packages
# redis-server, memcached and postgresql, which it starts on ports and folders of its own; Python packages come from PyPI, once.
# Exits with 77, and says why, where something cannot be had.
set -euo pipefail
hunt=$(readlink -f "$1")
players=${2:-500} teams=${3:-50} seconds=${4:-60} think=${5:-5} right=${6:-35}
IFS=, read -ra forms <<< "${7:-sqlite,postgresql,postgresql-async,hunt}"
here=$(dirname "$(readlink -f "$0")")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/daybook
# Two processes for each core and one more, as gunicorn advises, each with threads for requests that wait for the database.
workers=$((2 * $(nproc) + 1))
# Long enough to make the teams.
lead_in=25

for form in "${forms[@]}"; do
    case $form in sqlite|postgresql|postgresql-async|hunt) ;; *) echo "error: there is no form $form" >&2; exit 2 ;; esac
done
for program in redis-server memcached; do
    command -v "$program" > /dev/null || { echo "skipped: there is no $program (apt-get install redis-server memcached)"; exit 77; }
done
venv=$cache/hunt-peer-$(sha256sum "$here/requirements.txt" | cut -c1-12)
if [ ! -x "$venv/bin/gunicorn" ]; then
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" \
        || { rm -rf "$venv"; echo "skipped: the Python packages cannot be fetched"; exit 77; }
fi

folder= started=()
end() {
    # The last first: who uses a server ends before it.
    for ((at = ${#started[@]} - 1; at >= 0; at--)); do
        kill "${started[at]}" 2> /dev/null || true
        wait "${started[at]}" 2> /dev/null || true
    done
    started=()
    [ -z "$folder" ] || rm -rf "$folder"
    folder=
}
trap end EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Starts PostgreSQL and sets HUNT_POSTGRESQL.
postgresql() {
    local options=
    [ "$1" != postgresql-async ] || options=" options='-c synchronous_commit=off'"
    "$venv/bin/python" "$here/cluster.py" > "$folder/address" & started+=($!)
    until [ -s "$folder/address" ]; do
        kill -0 "${started[-1]}" 2> /dev/null || { echo "skipped: PostgreSQL does not start"; exit 77; }
        sleep 0.1
    done
    export HUNT_POSTGRESQL
    HUNT_POSTGRESQL=$(cat "$folder/address")$options
}

# Serves a hunt on Flask and sets url.
flask() {
    folder=$(mktemp -d)
    export HUNT_REDIS HUNT_MEMCACHED HUNT_RULES=$folder/rules.yaml HUNT_DB=$folder/hunt.db HUNT_ORGANISER=organiser-of-the-peer
    unset HUNT_POSTGRESQL
    HUNT_REDIS=$(free_port)
    redis-server --port "$HUNT_REDIS" --bind 127.0.0.1 --save '' --dir "$folder" > "$folder/redis.log" & started+=($!)
    HUNT_MEMCACHED=$(free_port)
    memcached -p "$HUNT_MEMCACHED" -l 127.0.0.1 -u nobody > "$folder/memcached.log" 2>&1 & started+=($!)
    [ "$1" = sqlite ] || postgresql "$1"
    "$hunt" rules make --hunt peer --seed 1 --challenges 40 --starts-in "$lead_in" --seconds "$seconds" > "$HUNT_RULES"
    local port
    port=$(free_port)
    url=http://127.0.0.1:$port
    (cd "$here" && exec "$venv/bin/python" -B app.py)
    (cd "$here" && exec "$venv/bin/python" -B -m gunicorn app:app --bind "127.0.0.1:$port" --workers "$workers" --worker-class gthread \
        --threads 16 --worker-connections $((players + 100)) --keep-alive 75 --backlog 4096 --log-level error) \
        > "$folder/gunicorn.log" 2>&1 & started+=($!)
    for _ in $(seq 100); do
        python3 -c "import urllib.request; urllib.request.urlopen('$url/api/hunt', timeout=2)" 2> /dev/null && break
        sleep 0.1
    done
}

load=(load --players "$players" --teams "$teams" --watchers 0 --think "$think" --right "$right" --seed 1)
echo "$players players, $teams teams, $seconds s, think time $think s; Flask under gunicorn has $workers processes"
for form in "${forms[@]}"; do
    echo
    echo "$form"
    if [ "$form" = hunt ]; then
        "$hunt" "${load[@]}" --challenges 40 --seconds "$seconds"
    else
        flask "$form"
        "$hunt" "${load[@]}" --challenges 40 --url "$url" --records
        end
    fi
done
