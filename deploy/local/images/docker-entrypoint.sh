#!/bin/sh
# As in the image of NATS: flags alone are flags of the server.
set -e
if [ "$#" -eq 0 ] || [ "${1#-}" != "$1" ]; then set -- nats-server "$@"; fi
exec "$@"
