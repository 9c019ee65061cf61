"""Doors through which events go in: handlers' sockets, or Daybook's subjects. Both send one event a message and do not wait.

What comes of a message is told to a `Heard`. Whoever listens sends again what was lost: a second one counts once in either form.
"""

import asyncio
import itertools
import zlib
from collections import deque
from typing import Protocol

import nats
import nats.errors
import orjson

# Pause between two tries to connect, in seconds.
AGAIN = 0.05


class Heard(Protocol):
    def stored(self, index: int, position: int | None) -> None:
        """The message is acknowledged; in Daybook with its position in INBOX."""

    def busy(self, index: int) -> None:
        """The message was refused, and may be taken later."""

    def lost(self, index: int) -> None:
        """Nobody knows whether the message arrived."""

    def all_lost(self) -> None:
        """The same, of every message without an answer."""


class Line(asyncio.Protocol):
    """A connection to one handler. Replies come in the order of the messages."""

    def __init__(self, port: int, heard: Heard):
        self.port, self.heard = port, heard
        self.transport: asyncio.Transport | None = None
        self.sent: deque[int] = deque()
        self.connecting: asyncio.Task | None = None

    async def connect(self) -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)
                return
            except OSError:
                await asyncio.sleep(AGAIN)

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self.transport = None
        lost, self.sent = self.sent, deque()
        for index in lost:
            self.heard.lost(index)
        self.connecting = asyncio.get_running_loop().create_task(self.connect())

    def send(self, index: int, message: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            self.heard.lost(index)
        else:
            self.sent.append(index)
            self.transport.write(message)

    def data_received(self, data: bytes) -> None:
        for reply in data:
            index = self.sent.popleft()
            if reply == ord("+"):
                self.heard.stored(index, None)
            elif reply == ord("-"):
                self.heard.busy(index)
            else:
                raise AssertionError(f"a handler says that event {index} is none")


class Handlers:
    """Each tenant has one handler, so that a reader finds all its events in one store."""

    def __init__(self, spec: dict, heard: Heard):
        self.lines = [Line(port, heard) for port in spec["ports"]]

    async def open(self) -> None:
        await asyncio.gather(*(line.connect() for line in self.lines))

    async def send(self, index: int, tenant: str, payload: bytes) -> None:
        self.lines[handler_of(tenant, len(self.lines))].send(index, b"%b %b\n" % (tenant.encode(), payload))


def handler_of(tenant: str, count: int) -> int:
    return zlib.crc32(tenant.encode()) % count


class Daybook:
    """A stock client, which shares one inbox among all acknowledgements and connects again by itself."""

    def __init__(self, spec: dict, heard: Heard):
        self.url, self.heard = spec["url"], heard

    async def open(self) -> None:
        self.client = await connect(self.url, self.reconnected)
        self.inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self.inbox}.*", cb=self.acknowledged)

    async def reconnected(self) -> None:
        self.heard.all_lost()

    async def acknowledged(self, message: nats.aio.msg.Msg) -> None:
        index = int(message.subject.rpartition(".")[2])
        # Without a body nobody listens on the subject: the stream is not there yet.
        reply = orjson.loads(message.data) if message.data else {"error": "no stream"}
        if "error" in reply:
            self.heard.busy(index)
        else:
            self.heard.stored(index, reply["seq"])

    async def send(self, index: int, tenant: str, payload: bytes) -> None:
        try:
            await self.client.publish(f"daybook.in.{tenant}.order", payload, reply=f"{self.inbox}.{index}")
        except nats.errors.Error:
            # The connection is away, and the client's buffer is full.
            self.heard.lost(index)


async def connect(url: str, reconnected=None) -> nats.NATS:
    """Connects as soon as the broker is there, and again whenever it is back."""

    async def quiet(_error: Exception) -> None:
        """The broker is killed on purpose: that needs no log."""

    while True:
        try:
            return await nats.connect(
                url,
                max_reconnect_attempts=-1,
                reconnect_time_wait=AGAIN,
                error_cb=quiet,
                reconnected_cb=reconnected,
                connect_timeout=2,
            )
        except (OSError, nats.errors.Error, asyncio.TimeoutError):
            await asyncio.sleep(AGAIN)


def door(spec: dict, heard: Heard) -> Handlers | Daybook:
    return Daybook(spec, heard) if spec["form"] == "daybook" else Handlers(spec, heard)


class Single:
    """Sends one event and waits until it is acknowledged, however often that takes."""

    def __init__(self, spec: dict):
        self.numbers = itertools.count()
        self.waiting: dict[int, asyncio.Future] = {}
        self.door = door(spec, self)

    async def put(self, tenant: str, payload: bytes, patience: float) -> int | None:
        """Returns the position, if there is one."""
        while True:
            index = next(self.numbers)
            self.waiting[index] = asyncio.get_running_loop().create_future()
            await self.door.send(index, tenant, payload)
            try:
                is_stored, position = await asyncio.wait_for(self.waiting[index], patience)
                if is_stored:
                    return position
                await asyncio.sleep(AGAIN)
            except asyncio.TimeoutError:
                pass
            finally:
                self.waiting.pop(index, None)

    def answer(self, index: int, is_stored: bool, position: int | None = None) -> None:
        waiting = self.waiting.get(index)
        if waiting and not waiting.done():
            waiting.set_result((is_stored, position))

    def stored(self, index: int, position: int | None) -> None:
        self.answer(index, True, position)

    def busy(self, index: int) -> None:
        self.answer(index, False)

    def lost(self, index: int) -> None:
        self.answer(index, False)

    def all_lost(self) -> None:
        for index in list(self.waiting):
            self.lost(index)
