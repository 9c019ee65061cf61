"""The two forms: event handlers that write straight to a store, and Daybook. Each starts its processes, says whom to kill, and checks
what it holds."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import askers
import keys
from events import Event, tenants
from reader import TENANT
from supervisor import Supervisor

HERE = Path(__file__).resolve().parent
# Handler processes: one for each core of the machine that this was written for.
HANDLERS = 2
# How long a form may take to start, in seconds.
PATIENCE = 60


class Wrong(Exception):
    """Something that must not be."""


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def cut_off() -> int:
    """An hour that is far away from now, so that no run sees a day end."""
    return (datetime.now(timezone.utc).hour + 12) % 24


class Direct:
    """Handlers with a store each. `early` acknowledges before it writes."""

    def __init__(self, home: Path, supervisor: Supervisor, early: bool):
        self.supervisor, self.reply = supervisor, "early" if early else "written"
        self.cut_off = cut_off()
        self.day = keys.business_day(datetime.now(timezone.utc).isoformat(), self.cut_off)
        self.ports = [free_port() for _ in range(HANDLERS)]
        self.folders = [str(home / f"store-{number}") for number in range(HANDLERS)]
        self.victims = [f"handler-{number}" for number in range(HANDLERS)]

    def start(self, _tenants: int) -> None:
        for name, port, folder in zip(self.victims, self.ports, self.folders):
            command = [sys.executable, "-B", str(HERE / "handler.py"), str(port), folder, str(self.cut_off), self.reply]
            self.supervisor.start(name, command)
        until = time.monotonic() + PATIENCE
        while not self.is_up():
            if time.monotonic() > until:
                raise Wrong("a handler does not start: see its log")
            time.sleep(0.05)

    def spec(self) -> dict:
        return {"form": "direct", "ports": self.ports, "folders": self.folders, "day": self.day}

    def is_up(self) -> bool:
        """Whether every handler takes connections."""
        for port in self.ports:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                return False
        return True

    def kill(self, number: int) -> None:
        self.supervisor.kill(self.victims[number % HANDLERS])

    async def missing(self, stored: list[Event]) -> int:
        """Acknowledged events that are not there."""
        stores = askers.Stores(self.spec(), "check")
        await stores.open()
        held: set[bytes] = set()
        for at, name in enumerate(stores.stores):
            name.try_catch_up_with_primary()
            held |= keys.held(stores.stores[at])
        wanted = {keys.key_of(event.tenant.encode(), self.day, event.id, event.version) for event in stored}
        return len(wanted - held)


DEFINITIONS = """
kinds:
  - {{ name: order, mode: entity, dimensions: [store], measures: [cents] }}
views:
  - {{ name: sales, kind: order, group_by: [store], metrics: [orders: count, revenue: sum(cents), largest: max(cents)] }}
tenants:
{tenants}
"""


class Daybook:
    """`daybook up`: the services in one process, and their broker in another."""

    def __init__(self, home: Path, supervisor: Supervisor, binary: str):
        self.home, self.supervisor, self.binary = home, supervisor, binary
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"

    def start(self, count: int) -> None:
        command = [self.binary, "up", "--data", str(self.home / "data"), "--port", str(self.port)]
        self.supervisor.start("daybook", command)
        cut = f"{cut_off():02}:00"
        lines = [f'  - {{ id: {name}, zone: UTC, cutoff: "{cut}" }}' for name in [*tenants(count), TENANT]]
        file = self.home / "definitions.yaml"
        file.write_text(DEFINITIONS.format(tenants="\n".join(lines)))
        until = time.monotonic() + PATIENCE
        apply = [self.binary, "apply", "-f", str(file), "--wait", "--nats", self.url]
        while (done := subprocess.run(apply, capture_output=True, text=True)).returncode:
            if time.monotonic() > until:
                raise Wrong(f"Daybook does not take the definitions: {done.stderr}")
            time.sleep(0.2)

    def spec(self) -> dict:
        return {"form": "daybook", "url": self.url}

    def is_up(self) -> bool:
        """Whether `daybook up` has said so since it was started last."""
        said = (self.home / "daybook.log").read_bytes().count(b"Daybook is up")
        return said >= self.supervisor.starts["daybook"]

    def kill(self, number: int) -> None:
        """In turn everything, for the broker does not outlive `daybook up`, and the broker alone, which it starts again."""
        if number % 2:
            self.supervisor.kill_below("daybook", "nats-server")
        else:
            self.supervisor.kill("daybook")

    async def missing(self, stored: list[Event]) -> int:
        """By the account of each tenant's day: versions that took effect, and older ones that came later."""
        questions = askers.Questions(self.spec(), "check")
        await questions.open()
        wanted: dict[str, set[tuple[str, int]]] = {}
        for event in stored:
            wanted.setdefault(event.tenant, set()).add((event.id, event.version))
        missing = 0
        for tenant, versions in wanted.items():
            account = (await questions.request(tenant, "~days", {}))["days"][-1]["account"]
            missing += max(len(versions) - account["counted"] - account["stale"], 0)
            if account["rejected"]:
                raise Wrong(f"{tenant}: {json.dumps(account)}")
        await questions.client.close()
        return missing


def compared(spec: dict, expected: dict[str, dict], settle: float) -> dict[str, int]:
    """Compares every figure, until all are equal or the time is over."""

    async def compare() -> dict[str, int]:
        asker = askers.asker(spec, "check")
        await asker.open()
        until = time.monotonic() + settle
        result = {"groups": 0, "wrong": 0, "short": 0, "over": 0}
        for tenant, stores in sorted(expected.items()):
            while (found := await asker.ask(tenant)) != stores and time.monotonic() < until:
                await asyncio.sleep(0.1)
            for store in sorted(stores.keys() | found.keys()):
                wanted, got = (figures.get(store, (0, 0, 0)) for figures in (stores, found))
                result["groups"] += 1
                result["wrong"] += wanted != got
                result["short"] += max(wanted[0] - got[0], 0)
                result["over"] += max(got[0] - wanted[0], 0)
        if spec["form"] == "daybook":
            await asker.client.close()
        return result

    return asyncio.run(compare())
