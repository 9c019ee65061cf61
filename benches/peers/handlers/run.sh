#!/usr/bin/env bash
# Event handlers that write straight to a store, and Daybook, on the same events and questions: see README.md.
#
#   cargo build --release -p daybook && benches/peers/handlers/run.sh target/release/daybook [OPTIONS]
#
# Python packages come from PyPI, once. Exits with 77, and says why, where they cannot be had.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/daybook
venv=$cache/handlers-peer-$(sha256sum "$here/requirements.txt" | cut -c1-12)
if [ ! -x "$venv/bin/python" ] || [ ! -e "$venv/installed" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" \
        || { rm -rf "$venv"; echo "skipped: the Python packages cannot be fetched"; exit 77; }
    touch "$venv/installed"
fi
exec "$venv/bin/python" -B "$here/main.py" "$@"
