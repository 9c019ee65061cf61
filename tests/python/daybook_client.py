"""How to talk to Daybook from nats-py. Nothing here is needed: each function is a few calls of the NATS client, to be
copied into a program of your own. docs/CLIENTS.md tells what stands behind them; clients.py uses them all.
"""

import asyncio
import json
from decimal import Decimal

import umsgpack
from nats.errors import NoRespondersError

MSGPACK = {"Content-Type": "application/msgpack"}
# Errors that go away by themselves: the figures are not there yet, too much was asked at once, or nobody answers at the
# moment.
TRY_AGAIN = ("not_yet", "busy", "unavailable")


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


async def ask_patiently(nc, tenant, view, **question):
    """Asks until there is an answer, for 30 seconds at most."""
    for attempt in range(300):
        try:
            return await ask(nc, tenant, view, **question)
        except (AskError, NoRespondersError) as error:
            if attempt == 299 or getattr(error, "code", "unavailable") not in TRY_AGAIN:
                raise
            await asyncio.sleep(0.1)


async def ask_all(nc, tenant, view, **question):
    """The rows of all pages."""
    rows, cursor = [], {}
    while True:
        answer = await ask_patiently(nc, tenant, view, **question, **cursor)
        rows += answer["rows"]
        if "next" not in answer:
            return rows
        cursor = {"cursor": answer["next"]}


# --- live ---


class LiveView:
    """The rows of a view, kept current. `key` names the columns that tell rows apart: the view's dimensions, with
    `time` before them when it is kept by the hour or quarter of an hour; of a ranking, `position` alone."""

    RENEW_AFTER = 10  # seconds; the feed ends 30 seconds after it was last asked for

    def __init__(self, nc, tenant, view, key):
        self.nc, self.tenant, self.view, self.key = nc, tenant, view, key
        self.feed, self.sequence, self.rows = None, 0, {}
        self.date = self.inbox = self.renewed = None

    async def start(self):
        # First subscribe, then ask: so nothing falls in between.
        self.subscription = await self.nc.subscribe(f"daybook.live.{self.tenant}.{self.view}")
        await self.renew()

    async def renew(self):
        """Asks for the feed, which starts or prolongs it, and takes the answer for the new snapshot."""
        answer = await ask_patiently(self.nc, self.tenant, self.view, watch=True)
        self.renewed = asyncio.get_running_loop().time()
        feed = answer["feed"]
        if feed["feed"] == self.feed and feed["sequence"] < self.sequence:
            return  # The updates have been faster than the answer.
        self.feed, self.sequence = feed["feed"], feed["sequence"]
        self.rows, self.date, self.inbox = {}, answer["to"], answer["as_of"]["inbox"]
        self.put(answer["rows"])

    async def step(self):
        """Waits for the next message, or until the feed is to be renewed."""
        rest = self.renewed + self.RENEW_AFTER - asyncio.get_running_loop().time()
        try:
            message = await self.subscription.next_msg(timeout=max(rest, 0.001))
        except asyncio.TimeoutError:
            return await self.renew()
        await self.follow(loads(message.data))

    async def follow(self, update):
        if update["feed"] != self.feed or update["sequence"] <= self.sequence:
            return  # Another feed, or older than the snapshot.
        if update["sequence"] != self.sequence + 1 or update["reset"]:
            return await self.renew()  # Something was missed, or was too much for a message.
        if update["date"] != self.date:
            self.rows = {}  # Another day has begun.
        self.sequence, self.date, self.inbox = update["sequence"], update["date"], update["as_of"]["inbox"]
        for row in update["removed"]:
            self.rows.pop(self.key_of(row), None)
        self.put(update["rows"])

    def put(self, rows):
        self.rows.update((self.key_of(row), row) for row in rows)

    def key_of(self, row):
        return tuple(row.get(column) for column in self.key)


# --- days, reports, rejects ---


async def read_list(nc, tenant, name, **question):
    """All `days`, `reports` or `rejects` of a tenant, oldest first. The first page holds the newest."""
    rows, cursor = [], {}
    while True:
        page = await ask_patiently(nc, tenant, f"~{name}", **question, **cursor)
        rows = page[name] + rows
        if "next" not in page:
            return rows
        cursor = {"cursor": page["next"]}


async def read_report(nc, tenant, date, version=None):
    """The bytes of a sealed report, the newest version by default, and their hash: BLAKE3 in hex."""
    question = {"date": date} if version is None else {"date": date, "version": version}
    reply = await reply_to(nc, tenant, "~report", question)
    return reply.data, reply.headers["Daybook-Hash"]


async def rejects_since(nc, tenant, place):
    """The rejects recorded after a place, the `newer` of an earlier page, and the place to go on from next time."""
    rejects = []
    while True:
        page = await ask_patiently(nc, tenant, "~rejects", cursor=place)
        rejects, place = rejects + page["rejects"], page["newer"]
        if "next" not in page:
            return rejects, place


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
