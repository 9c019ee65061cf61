"""The protocol of Daybook in plain nats-py, as docs/CLIENTS.md shows it; clients.py uses each function. Programs better
use the package in clients/python, which also retries, reads pages, follows live views and checks reports.
"""

import json
from decimal import Decimal

import umsgpack

MSGPACK = {"Content-Type": "application/msgpack"}


# --- publishing ---


async def publish(js, tenant, kind, events):
    """Publishes one event (a dict) or a batch (a list). Once this returns, the events are durable and will be counted
    exactly once. The sequence is for `at_least`."""
    ack = await js.publish(f"daybook.in.{tenant}.{kind}", json.dumps(events).encode())
    return ack.seq


async def publish_msgpack(js, tenant, kind, events):
    """The same in MessagePack."""
    ack = await js.publish(f"daybook.in.{tenant}.{kind}", umsgpack.packb(events), headers=MSGPACK)
    return ack.seq


# --- asking ---


class AskError(Exception):
    """Why a question was not answered: code, number, message, and where there are any hint, field and position."""

    def __init__(self, number, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.number, self.code, self.message = number, error["code"], error["message"]
        self.hint, self.field, self.position = error.get("hint"), error.get("field"), error.get("position")


def loads(payload):
    """Reads JSON without turning decimals into binary floats: figures are exact."""
    return json.loads(payload, parse_float=Decimal)


async def reply_to(nc, tenant, view, question):
    """The reply to one request."""
    body = json.dumps(question).encode() if question else b""
    reply = await nc.request(f"daybook.query.{tenant}.{view}", body, timeout=10)
    number = (reply.headers or {}).get("Nats-Service-Error-Code")
    if number:
        raise AskError(int(number), loads(reply.data))
    return reply


async def ask(nc, tenant, view, **question):
    """Asks once. No question at all means: the whole view, today."""
    return loads((await reply_to(nc, tenant, view, question)).data)


async def ask_msgpack(nc, tenant, view, **question):
    """Asks in MessagePack and is answered in it. Decimals are texts here, and times of the envelope numbers."""
    subject = f"daybook.query.{tenant}.{view}"
    reply = await nc.request(subject, umsgpack.packb(question), timeout=10, headers=MSGPACK)
    number, body = reply.headers.get("Nats-Service-Error-Code"), umsgpack.unpackb(reply.data)
    if number:
        raise AskError(int(number), body)
    return body


# --- administration ---


class Refused(Exception):
    """An admin request that was not carried out, with the number in its header."""

    def __init__(self, number, why):
        super().__init__(why)
        self.number = number


async def admin(nc, command, request=None):
    body = b"" if request is None else json.dumps(request).encode()
    reply = await nc.request(f"daybook.admin.{command}", body, timeout=60)
    headers = reply.headers or {}
    if "Nats-Service-Error-Code" in headers:
        raise Refused(int(headers["Nats-Service-Error-Code"]), headers["Nats-Service-Error"])
    return loads(reply.data)


async def service(nc, verb, name):
    """What the first instance of a service says: verb is PING, INFO or STATS."""
    return loads((await nc.request(f"$SRV.{verb}.{name}", b"", timeout=10)).data)
