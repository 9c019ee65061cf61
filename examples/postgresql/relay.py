"""Carries the changes in daybook.outbox (outbox.sql) into a NATS stream, from where Daybook's connect reads them.

    python3 relay.py --postgres "dbname=shop" --nats nats://127.0.0.1:4222

A change leaves the outbox in the transaction that follows its acknowledgement by the stream. Killed in between, the relay publishes
it again, with the same version, which Daybook takes for a duplicate. Several relays may run at once.
"""

import argparse
import asyncio
import sys

import nats
import psycopg
from nats.js.errors import APIError, NotFoundError

# Changes that are published together.
BATCH = 500
# Seconds without a notification before the outbox is looked at all the same.
LOOK_SECONDS = 5
# Seconds before something that failed is tried again.
PAUSE_SECONDS = 1
# The broker's code for a message that is larger than the stream takes.
EXCEEDS_MAXIMUM = 10054

# PostgreSQL writes the message, so that numbers keep all their digits.
TAKE = """
SELECT seq, source, json_build_object(
    'op', op, 'before', before, 'after', after,
    'source', json_build_object('lsn', seq, 'ts_ms', (extract(epoch FROM changed_at) * 1000)::bigint)
)::text
FROM daybook.outbox WHERE failed IS NULL ORDER BY seq LIMIT %s FOR UPDATE SKIP LOCKED
"""


async def publish(jetstream, limit, prefix, change):
    """Publishes a change. Returns why nobody could ever publish it: then those behind it must not wait."""
    seq, source, message = change
    payload, headers = message.encode(), {"Nats-Msg-Id": f"{prefix}-{seq}"}
    # The broker closes the connection for a message whose headers and payload together exceed its limit.
    size = len(payload) + len("NATS/1.0\r\n\r\n") + sum(len(f"{name}: {value}\r\n") for name, value in headers.items())
    failure = "too large for NATS" if size > limit else None
    if failure is None:
        try:
            await jetstream.publish(f"{prefix}.{source}", payload, headers=headers)
        except APIError as error:
            if error.err_code != EXCEEDS_MAXIMUM:
                raise
            failure = "too large for the stream"
    if failure is not None:
        print(f"change {seq} of {source} is {failure}; it stays in the outbox", file=sys.stderr)
    return failure


async def carry(connection, jetstream, limit, prefix):
    """Publishes the oldest changes and removes them. Returns how many there were."""
    async with connection.transaction():
        changes = await (await connection.execute(TAKE, (BATCH,))).fetchall()
        failures = await asyncio.gather(*(publish(jetstream, limit, prefix, change) for change in changes))
        done = [change[0] for change, failure in zip(changes, failures) if failure is None]
        await connection.execute("DELETE FROM daybook.outbox WHERE seq = ANY(%s)", (done,))
        for change, failure in zip(changes, failures):
            if failure is not None:
                await connection.execute("UPDATE daybook.outbox SET failed = %s WHERE seq = %s", (failure, change[0]))
    return len(changes)


async def relay(arguments, client):
    """Carries changes until something fails."""
    jetstream = client.jetstream()
    async with await psycopg.AsyncConnection.connect(arguments.postgres, autocommit=True) as connection:
        await connection.execute("LISTEN daybook_outbox")
        while True:
            while await carry(connection, jetstream, client.max_payload, arguments.prefix):
                pass
            if arguments.once:
                return
            async for _ in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
                pass


async def run(arguments):
    client = await nats.connect(arguments.nats, user_credentials=arguments.credentials, max_reconnect_attempts=-1)
    jetstream = client.jetstream()
    try:
        await jetstream.stream_info(arguments.stream)
    except NotFoundError:
        await jetstream.add_stream(name=arguments.stream, subjects=[f"{arguments.prefix}.>"])
    while True:
        try:
            return await relay(arguments, client)
        except (psycopg.Error, nats.errors.Error, asyncio.TimeoutError) as error:
            # PostgreSQL or NATS is away, or full. What was not removed is carried later.
            print(f"trying again: {type(error).__name__} {error}", file=sys.stderr)
            await asyncio.sleep(PAUSE_SECONDS)


def main():
    parser = argparse.ArgumentParser(description="Carries the changes of watched PostgreSQL tables into a NATS stream.")
    parser.add_argument("--postgres", default="", help="connection string of libpq, such as dbname=shop")
    parser.add_argument("--nats", default="nats://127.0.0.1:4222", help="URL of a NATS server with JetStream")
    parser.add_argument("--credentials", default=None, help="file with NATS user credentials")
    parser.add_argument("--stream", default="POSTGRES", help="the stream; it is made when it is missing")
    parser.add_argument("--prefix", default="postgres", help="first token of the subjects")
    parser.add_argument("--once", action="store_true", help="end when the outbox is empty")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
