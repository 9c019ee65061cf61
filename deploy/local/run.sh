#!/usr/bin/env bash
# Builds the images, brings them up, checks them, breaks them and takes them down: `run.sh` whole, `run.sh short` for CI.
# The short form is skipped with one line where podman or a package cannot be had; the whole one fails then.
set -uo pipefail
. "$(dirname "$0")/env.sh"
FORM=${1:-whole}

# Code 77 of a step: something outside the project is missing, and its last line says what.
prepare() {
    local said code
    said=$("$1" 2>&1)
    code=$?
    [ $code = 0 ] && { tail -1 <<< "$said"; return; }
    [ $code = 77 ] && [ "$FORM" = short ] && { echo "containers: $(tail -1 <<< "$said")"; exit 0; }
    fail "$(tail -1 <<< "$said")"
}
prepare "$here/setup.sh"
prepare "$here/build.sh"
trap '"$here/down.sh"' EXIT
"$here/up.sh" || exit 1
bad=0
if [ "$FORM" = short ]; then
    "$here/metrics.py" files || bad=1
    "$here/check.sh" || bad=1
    "$here/faults.sh" short || bad=1
else
    "$here/check.sh" || bad=1
    "$here/metrics.py" || bad=1
    "$here/faults.sh" || bad=1
    "$here/metrics.py" alerts || bad=1
    "$here/operations.sh" || bad=1
fi
echo "containers: $([ $bad = 0 ] && echo every check passed || echo checks failed) in $SECONDS s"
exit $bad
