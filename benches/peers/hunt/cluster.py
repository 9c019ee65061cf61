"""A private PostgreSQL, as the other peers start one (../postgresql.py): prints how to connect, and ends it when told to end."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import postgresql  # noqa: E402
from measure import Missing  # noqa: E402

# An environment says that it is missing by this status.
SKIPPED = 77


def main() -> int:
    # As an exception, so that the server is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with postgresql.server() as server:
            print(f"host={server.home} user=bench dbname=postgres", flush=True)
            signal.pause()
    except Missing as error:
        print(f"skipped: {error} (apt-get install postgresql)", file=sys.stderr)
        return SKIPPED
    return 0


sys.exit(main())
