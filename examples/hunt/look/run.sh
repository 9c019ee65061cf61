#!/usr/bin/env bash
# Looks at the pages of a hunt in headless Chromium.
#
#   cargo build -p daybook -p hunt && examples/hunt/look/run.sh target/debug/hunt [FOLDER FOR PICTURES]
#
# Needs Debian's packages chromium and chromium-driver; Selenium comes from PyPI, once, into the cache.
# Exits with 77, and says why, where a browser or selenium cannot be had.
set -euo pipefail
hunt=$(readlink -f "$1")
here=$(dirname "$(readlink -f "$0")")
SELENIUM=4.51.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/daybook

for program in chromium chromedriver; do
    command -v "$program" > /dev/null || { echo "skipped: there is no $program (apt-get install chromium chromium-driver)"; exit 77; }
done
venv=$cache/selenium-$SELENIUM
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import selenium' 2> /dev/null; then
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check "selenium==$SELENIUM" \
        || { rm -rf "$venv"; echo "skipped: selenium cannot be fetched"; exit 77; }
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pictures=${2:-$folder}
mkdir -p "$pictures"
"$venv/bin/python" "$here/look.py" "$hunt" "$pictures"
