"""An event handler: takes events over a socket and writes them straight into its own RocksDB. Started by direct.py.

python3 handler.py PORT FOLDER CUT_OFF_HOUR written|early

A message is a line: the tenant, a blank, and an event in JSON. Its reply is one byte, in the order of the messages: `+` stored, `-` busy,
`!` not an event. With `written` the reply comes when the event is in the store's write-ahead log, in the page cache: it survives the end
of the process. With `early` the reply comes at once and the event is written up to 50 ms later.
"""

import asyncio
import signal
import sys

import orjson
import uvloop
from rocksdict import Rdict, WriteBatch

from keys import business_day, key_of, options, value_of

# Longest message, as in Daybook.
MAX_LINE = 64 << 10
# With `early`: events that may wait to be written, and how long they do, in seconds.
MAX_WAITING, FLUSH = 100_000, 0.05


def entry(line: bytes, cut_off: int) -> tuple[bytes, bytes]:
    """Key and value of a message.

    Raises ValueError when it is not an event."""
    tenant, separator, body = line.partition(b" ")
    event = orjson.loads(body)
    try:
        number, cents = event["version"], event["measures"]["cents"]
        if not separator or type(number) is not int or type(cents) is not int:
            raise ValueError("a tenant, and whole numbers")
        day = business_day(event["at"], cut_off)
        return key_of(tenant, day, event["id"], number), value_of(event["dims"]["store"], cents)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(str(error)) from error


class Handler:
    def __init__(self, folder: str, cut_off: int, is_early: bool):
        self.store = Rdict(folder, options=options())
        self.cut_off = cut_off
        self.is_early = is_early
        self.waiting: list[tuple[bytes, bytes]] = []

    def take(self, lines: list[bytes]) -> bytes:
        """Takes messages; returns their replies. All that came at once is one write."""
        batch, replies, count = WriteBatch(raw_mode=True), bytearray(), 0
        for line in lines:
            if self.is_early and len(self.waiting) >= MAX_WAITING:
                replies += b"-"
                continue
            try:
                key, value = entry(line, self.cut_off)
            except ValueError:
                replies += b"!"
                continue
            replies += b"+"
            if self.is_early:
                self.waiting.append((key, value))
            else:
                batch.put(key, value)
                count += 1
        if count:
            self.store.write(batch)
        return bytes(replies)

    def flush(self) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in self.waiting:
            batch.put(key, value)
        self.waiting.clear()
        self.store.write(batch)

    async def flush_always(self) -> None:
        while True:
            await asyncio.sleep(FLUSH)
            if self.waiting:
                self.flush()


class Connection(asyncio.Protocol):
    def __init__(self, handler: Handler):
        self.handler = handler
        self.left = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.left = (self.left + data).split(b"\n")
        if len(self.left) > MAX_LINE:
            self.transport.abort()
        elif lines:
            self.transport.write(self.handler.take(lines))


async def main() -> None:
    port, folder, cut_off, reply = sys.argv[1:]
    handler = Handler(folder, int(cut_off), reply == "early")
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, lambda: ended.done() or ended.set_result(None))
    server = await loop.create_server(lambda: Connection(handler), "127.0.0.1", int(port))
    flushing = loop.create_task(handler.flush_always())
    # A write that fails ends the process, which the supervisor counts.
    await asyncio.wait((ended, flushing), return_when=asyncio.FIRST_COMPLETED)
    if flushing.done():
        flushing.result()
    server.close()
    flushing.cancel()
    if handler.waiting:
        handler.flush()
    handler.store.close()


uvloop.run(main())
