"""Times, processor time, and the rows of the tables."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Missing(Exception):
    """A program that is not there."""


def program(name: str, pattern: str | None = None) -> str:
    """Where a program is; `pattern` is where Debian's package puts it, the newest version counts."""
    found = shutil.which(name)
    if not found and pattern:
        found = max((str(path) for path in Path("/").glob(pattern)), default=None)
    if not found:
        raise Missing(f"there is no {name}")
    return found


@contextmanager
def folder(name: str):
    """A folder of its own, short enough for the path of a socket, that is removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix=f"peer-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def await_end(process: subprocess.Popen, patience: float) -> None:
    """Waits so many seconds for a server that was told to end, and then ends it."""
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def busy(root: int) -> float:
    """Seconds of processor time of a process and of all below it, with those that have ended."""
    below: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # Behind the name, which may hold anything: see proc_pid_stat(5).
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        below.setdefault(int(fields[1]), []).append(pid)
        seconds[pid] = sum(map(int, fields[11:15])) / TICKS
    total, left = 0.0, [root]
    while left:
        pid = left.pop()
        total += seconds.get(pid, 0.0)
        left += below.get(pid, [])
    return total


class Load:
    """A stretch of work: how long it took by the clock, and of a server's processor time."""

    def __init__(self, pid: int):
        self.pid = pid

    def __enter__(self) -> "Load":
        self.busy, self.began = busy(self.pid), time.perf_counter()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.took = time.perf_counter() - self.began
        self.busy = max(busy(self.pid) - self.busy, 1 / TICKS)

    def figures(self, events: int) -> dict[str, str]:
        return {
            "events": f"{events:,}",
            "events/s": f"{int(events / self.took):,}",
            "per busy core": f"{int(events / self.busy):,}",
        }


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds, and what came out."""
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def milliseconds(name: str, times: list[float]) -> dict[str, str]:
    """The columns of these times."""
    times = sorted(times)
    at = lambda share: f"{1_000 * times[min(int(len(times) * share), len(times) - 1)]:.2f}"
    return {f"{name} p50 ms": at(0.5), f"{name} p99 ms": at(0.99)}


def row(table: str, name: str, figures: dict[str, str] | None = None, **more: str) -> None:
    both = {**(figures or {}), **more}
    print(json.dumps({"table": table, "name": name, "figures": list(both.items())}), flush=True)
