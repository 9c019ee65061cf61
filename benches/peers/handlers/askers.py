"""Readers' side: the figures of a tenant's day by store, from the handlers' stores or from Daybook."""

import asyncio
import time

import nats.errors
import orjson
from rocksdict import AccessType, Rdict

import doors
import keys
from events import Group

# Pauses between two questions about the same, in seconds: until an event shows, and until somebody answers.
SOON, AGAIN = 0.002, 0.02
# How long a question may take, with all its repetitions, and one request.
PATIENCE, REQUEST = 60, 2


class Stores:
    """Reads the stores of the handlers beside them, as RocksDB's secondary instances, which follow the write-ahead log."""

    def __init__(self, spec: dict, name: str):
        self.spec, self.name = spec, name
        self.stores: list[Rdict] = []

    async def open(self) -> None:
        for at in range(len(self.spec["folders"])):
            self.stores.append(self.follow(at))

    def follow(self, at: int) -> Rdict:
        folder = self.spec["folders"][at]
        access = AccessType.secondary(f"{folder}-{self.name}")
        return Rdict(folder, options=keys.options(), access_type=access)

    def store(self, tenant: str) -> Rdict:
        """The store of a tenant with all that has been written until now."""
        at = doors.handler_of(tenant, len(self.stores))
        try:
            self.stores[at].try_catch_up_with_primary()
        except Exception:  # The binding has no class of its own: the writer has removed files that this had not opened yet.
            self.stores[at].close()
            self.stores[at] = self.follow(at)
        return self.stores[at]

    async def ask(self, tenant: str, _position: int | None = None) -> dict[str, Group]:
        return keys.figures(self.store(tenant), tenant, self.spec["day"])


class Questions:
    """Asks Daybook over NATS."""

    def __init__(self, spec: dict, _name: str):
        self.url = spec["url"]

    async def open(self) -> None:
        self.client = await doors.connect(self.url)

    async def ask(self, tenant: str, position: int | None = None) -> dict[str, Group]:
        """With a position: figures that reflect the message at it."""
        question = {} if position is None else {"at_least": position}
        answer = await self.request(tenant, "sales", question)
        return {row["store"]: Group(row["orders"], row["revenue"], row["largest"]) for row in answer["rows"]}

    async def request(self, tenant: str, name: str, question: dict) -> dict:
        until = time.monotonic() + PATIENCE
        body = orjson.dumps(question)
        while True:
            try:
                reply = await self.client.request(f"daybook.query.{tenant}.{name}", body, timeout=REQUEST)
                answer = orjson.loads(reply.data)
                if not (reply.headers or {}).get("Nats-Service-Error-Code"):
                    return answer
                pause = SOON if answer["code"] == "not_yet" else AGAIN
            except (nats.errors.Error, asyncio.TimeoutError) as error:
                answer, pause = repr(error), AGAIN
            if time.monotonic() > until:
                raise TimeoutError(f"{tenant} {name}: {answer}")
            await asyncio.sleep(pause)


def asker(spec: dict, name: str) -> Stores | Questions:
    return Questions(spec, name) if spec["form"] == "daybook" else Stores(spec, name)
