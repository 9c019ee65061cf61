"""Keeps processes running: whatever ends is started again at once, and counted unless it was told to end or killed on purpose."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

# Pause between two looks at the processes, and the time that one gets to end when it is told to.
LOOK, PATIENCE = 0.02, 30


class Supervisor:
    def __init__(self, home: Path):
        self.home = home
        self.commands: dict[str, list[str]] = {}
        self.running: dict[str, subprocess.Popen] = {}
        # Names of processes whose end is expected.
        self.killed: set[str] = set()
        self.kills = 0
        # By name, how often a process was started.
        self.starts: dict[str, int] = {}
        self.crashes: list[str] = []
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def start(self, name: str, command: list[str]) -> None:
        with self.lock:
            self.commands[name] = command
            self.spawn(name)

    def spawn(self, name: str) -> None:
        self.starts[name] = self.starts.get(name, 0) + 1
        with open(self.home / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen(
                self.commands[name], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def watch(self) -> None:
        while not self.ending.wait(LOOK):
            with self.lock:
                for name, process in list(self.running.items()):
                    if process.poll() is None:
                        continue
                    if name in self.killed:
                        self.killed.discard(name)
                    else:
                        self.crashes.append(f"{name}: status {process.returncode}")
                    self.spawn(name)

    def kill(self, name: str) -> None:
        """Ends a process as if it had crashed."""
        with self.lock:
            self.killed.add(name)
            self.kills += 1
            self.running[name].kill()

    def kill_below(self, name: str, program: str) -> None:
        """Ends a process that `name` has started, and starts again by itself."""
        with self.lock:
            root = self.running[name].pid
        for pid in descendants(root):
            if program_of(pid) == program:
                self.kills += 1
                os.kill(pid, signal.SIGKILL)

    def pids(self) -> list[int]:
        with self.lock:
            return [process.pid for process in self.running.values()]

    def stop(self) -> None:
        self.ending.set()
        self.watcher.join()
        for process in self.running.values():
            process.terminate()
        until = time.monotonic() + PATIENCE
        for process in self.running.values():
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def descendants(root: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        below.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += below.get(pid, [])
    return found


def program_of(pid: int) -> str:
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""


def peak_mib(roots: list[int]) -> int:
    """The most memory that the processes and those below them have had, added up, in MiB."""
    kib = 0
    for root in roots:
        for pid in descendants(root):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            kib += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return kib >> 10
