#!/usr/bin/env bash
# Builds the images, brings them up, checks them, breaks them and takes them down: `run.sh` whole, `run.sh short` for CI.
# The short form is skipped with one line where podman cannot be had; the whole one fails then.
set -uo pipefail
. "$(dirname "$0")/env.sh"
FORM=${1:-whole}

said=$("$here/setup.sh")
case $? in
    0) echo "$said" ;;
    77) [ "$FORM" = short ] && { echo "containers: $(tail -1 <<< "$said")"; exit 0; }; fail "$(tail -1 <<< "$said")" ;;
    *) fail "setup.sh failed: $said" ;;
esac
trap '"$here/down.sh"' EXIT
"$here/build.sh" && "$here/up.sh" || exit 1
bad=0
"$here/check.sh" || bad=1
[ "$FORM" = short ] || "$here/metrics.py" || bad=1
"$here/faults.sh" "$FORM" || bad=1
echo "containers: $([ $bad = 0 ] && echo every check passed || echo checks failed)"
exit $bad
