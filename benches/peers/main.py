"""Measures one peer on the work that `bench export` wrote: python3 main.py postgresql|redis|clickhouse FOLDER.

Prints a JSON object a line: the rows of the tables of `bench peers`. What is not installed is a row that says so.
"""

import importlib
import signal
import sys
from pathlib import Path

from measure import Missing, row
from work import Work

# Seconds until a peer is given up.
LIMIT = 1_200
MODULES = {"postgresql": "postgresql", "redis": "redis_server", "clickhouse": "clickhouse"}


def stop(number, _frame):
    raise TimeoutError(f"not done within {LIMIT} s" if number == signal.SIGALRM else "ended from outside")


def main() -> None:
    peer, folder = sys.argv[1], Path(sys.argv[2])
    # So that servers are ended, whatever happens.
    signal.signal(signal.SIGALRM, stop)
    signal.signal(signal.SIGTERM, stop)
    signal.alarm(LIMIT)
    try:
        importlib.import_module(MODULES[peer]).run(Work(folder))
    except (ImportError, Missing) as error:
        row("orders", peer, note=f"left out: {error}")
    except Exception as error:  # What it measured until then has been printed; the next peer goes on.
        row("orders", peer, note=f"broke off: {type(error).__name__}: {error}".replace("\n", " ")[:300])


main()
