"""`Daybook`, the client of one tenant over a connection of nats-py."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, AsyncIterable, AsyncIterator, Dict, Iterable, List, Optional, Union, cast

from nats.errors import NoRespondersError

from .alerts import AlertFeed
from .blake3 import hash_hex
from .errors import AskError, PublishError, ReportError
from .exact import checked_name, dumps, loads
from .live import LiveView
from .publishing import REPEAT, Batch, encoded, read_ack, too_large, with_id
from .retrying import Patience
from .types import Alert, AlertPage, Answer, Day, Event, Question, Reject, RejectPage, ReportEntry, Row, View

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from typing_extensions import Unpack

REQUEST_TIMEOUT = 10.0  # seconds for one try; Daybook answers or refuses within 8
# Errors that go away by themselves.
ASK_AGAIN = ("not_yet", "busy", "unavailable", "no_responders", "timeout")
PUBLISH_AGAIN = ("inbox_full", "no_responders", "unconfirmed")


@dataclass(frozen=True)
class Report:
    """A sealed report whose bytes have the hash that Daybook named."""

    payload: bytes
    hash: str  # BLAKE3 of the payload, in hex
    body: Dict[str, Any]  # the payload, read; decimals are exact
    restatement_pending: bool  # a further version will follow

    @classmethod
    def from_message(cls, message: Msg) -> Report:
        """Reads the reply to `~report`, or a message on `daybook.reports.<tenant>.<date>`. Takes up to 0.2 seconds.

        Raises ReportError if the bytes do not have the hash.
        """
        headers = message.headers or {}
        named, found = headers.get("Daybook-Hash"), hash_hex(message.data)
        if named != found:
            raise ReportError("hash_mismatch", f"Daybook names the hash {named}, and the bytes have {found}")
        return cls(message.data, found, loads(message.data), "Daybook-Restatement-Pending" in headers)


class Daybook:
    """What one tenant publishes and asks.

    `nc` is a connected client of nats-py; it stays yours to close. `patience` is how long a message or question is tried
    again, in seconds, while Daybook is busy, away or full; 0 tries once. One try takes 10 seconds at most.
    """

    def __init__(self, nc: Client, tenant: str, *, prefix: str = "daybook", patience: float = 30.0) -> None:
        self.nc, self.tenant, self.prefix, self.patience = nc, checked_name("tenant", tenant), prefix, patience

    def subject(self, what: str, name: str) -> str:
        """The subject for a kind (`in`) or a view (`query`, `live`) of the tenant."""
        checked_name("kind" if what == "in" else "view", name.removeprefix("~") if what == "query" else name)
        return f"{self.prefix}.{what}.{self.tenant}.{name}"

    # Publishing

    async def publish(self, kind: str, event: Event) -> int:
        """Publishes one event. Once this returns, the event is durable; figures or rejects show whether it counts.

        Returns its INBOX sequence, for `at_least`. Waits while INBOX is full. Without a confirmation it publishes
        again only if the event has an id, because a repetition then counts once. Raises PublishError.
        """
        sequence = await self.publish_many(kind, [event])
        assert sequence is not None, "one event makes one message"
        return sequence

    async def publish_many(
        self, kind: str, events: Union[Iterable[Event], AsyncIterable[Event]], *, ids: Optional[str] = None
    ) -> Optional[int]:
        """Publishes events in order, in as few messages as they fit into, one message after the other.

        Event number n (from 0) that has no id gets the id `ids/n`. So the same events under the same `ids` count once,
        however often a program publishes them; this suits facts. Give `ids` a name of the source, such as a file's.

        Returns the INBOX sequence of the last message, for `at_least`; None without events. Raises PublishError; its
        `published` says how many events are stored for certain.
        """
        subject, sequence, number, published = self.subject("in", kind), None, 0, 0
        batch = Batch(self.nc.max_payload)
        try:
            async for event in _each(events):
                event = with_id(event, ids, number)
                payload, has_id = encoded(event, number), event.get("id") is not None
                if not batch.add(payload, has_id):
                    if len(batch):
                        sequence = await self._send(subject, batch)
                        published, batch = number, Batch(self.nc.max_payload)
                    if not batch.add(payload, has_id):
                        raise too_large(number, len(payload), batch.limit)
                number += 1
            return await self._send(subject, batch) if len(batch) else sequence
        except PublishError as error:
            error.published = published
            raise

    async def _send(self, subject: str, batch: Batch) -> int:
        """Publishes a message until it is confirmed."""
        patience, payload, unconfirmed = Patience(self.patience), batch.payload(), None
        while True:
            outcome: Union[int, PublishError]
            try:
                outcome = read_ack((await self.nc.request(subject, payload, timeout=REQUEST_TIMEOUT)).data)
            except NoRespondersError:
                outcome = PublishError("no_responders", f"no stream takes {subject}", hint="does Daybook run here?")
            except asyncio.TimeoutError:
                outcome = PublishError("unconfirmed", f"no confirmation in {REQUEST_TIMEOUT} s", hint=REPEAT)
            if isinstance(outcome, int):
                return outcome
            if outcome.code == "unconfirmed":
                unconfirmed = outcome
            may_repeat = outcome.code in PUBLISH_AGAIN and (batch.repeatable or not unconfirmed)
            if not may_repeat or not await patience.wait():
                # Once a try may have been stored, no later refusal says that nothing was.
                raise unconfirmed or outcome

    # Asking

    async def ask(self, view: str, **question: Unpack[Question]) -> Answer:
        """Asks for the figures of a view, one page of them. Raises AskError.

        `at_least` waits until the figures reflect a sequence that `publish` returned.
        """
        return cast(Answer, await self._ask(view, cast(Dict[str, Any], question)))

    async def pages(self, view: str, **question: Unpack[Question]) -> AsyncIterator[Answer]:
        """All pages of an answer. A row that keeps its place comes once, though figures may change in between."""
        async for page in self._pages(view, cast(Dict[str, Any], question)):
            yield cast(Answer, page)

    async def rows(self, view: str, **question: Unpack[Question]) -> AsyncIterator[Row]:
        """The rows of all pages, one after the other."""
        async for page in self._pages(view, cast(Dict[str, Any], question)):
            for row in page["rows"]:
                yield row

    def follow(self, view: str, *, max_rows: int = 100_000) -> LiveView:
        """Follows a view on the newest open day: `async with daybook.follow(view) as live`.

        Raises AskError `too_many_rows` if the view has more rows than `max_rows`.
        """
        return LiveView(self, view, max_rows)

    async def views(self) -> List[View]:
        """The views that the tenant can ask for, with their columns."""
        return cast(List[View], (await self._ask("~views", {}))["views"])

    # Days, reports, rejects, alerts

    def days(self, first: Optional[str] = None, last: Optional[str] = None) -> AsyncIterator[Day]:
        """The business days, newest first, between two dates; both are included."""
        return self._list("days", first, last)

    def reports(self, first: Optional[str] = None, last: Optional[str] = None) -> AsyncIterator[ReportEntry]:
        """The newest report of each day without its figures, newest day first."""
        return self._list("reports", first, last)

    def rejects(self) -> AsyncIterator[Reject]:
        """The events that were not counted, and why, newest first."""
        return self._list("rejects", None, None)

    async def rejects_since(self, place: Optional[str] = None) -> AsyncIterator[RejectPage]:
        """Pages of the rejects recorded after a place, oldest first, until there are no more.

        A place is the `newer` of a page: store the last one, and go on from there next time. Without a place there is
        one page, of the newest rejects. `missed` in a page says that Daybook dropped rejects after the place.
        """
        question = {} if place is None else {"cursor": place}
        async for page in self._pages("~rejects", question):
            yield cast(RejectPage, page)
            if place is None:
                return

    def alerts(self) -> AsyncIterator[Alert]:
        """The alerts of the tenant's views and reports, newest first."""
        return self._list("alerts", None, None)

    async def alerts_since(self, place: Optional[str] = None) -> AsyncIterator[AlertPage]:
        """Pages of the alerts after a place, oldest first, until there are no more.

        A place is the `newer` of a page, as for `rejects_since`, and so is `missed`. Without a place there is one page, of
        the newest alerts.
        """
        question = {} if place is None else {"cursor": place}
        async for page in self._pages("~alerts", question):
            yield cast(AlertPage, page)
            if place is None:
                return

    def follow_alerts(self, place: Optional[str] = None) -> AlertFeed:
        """Follows the alerts after a place, and those that come: `async with daybook.follow_alerts(place) as feed`.

        A place is the `newer` of a page. Without one the first page has the newest alerts.
        """
        return AlertFeed(self, place)

    async def report(self, date: str, version: Optional[int] = None) -> Report:
        """The sealed report of a day, the newest version by default. Raises AskError, or ReportError for a wrong hash."""
        question = {"date": date} if version is None else {"date": date, "version": version}
        reply = await self._request("~report", question)
        return await asyncio.to_thread(Report.from_message, reply)

    async def _list(self, name: str, first: Optional[str], last: Optional[str]) -> AsyncIterator[Any]:
        question = {field: date for field, date in (("from", first), ("to", last)) if date is not None}
        async for page in self._pages(f"~{name}", question):
            for row in reversed(page[name]):
                yield row

    async def _pages(self, view: str, question: Dict[str, Any]) -> AsyncIterator[Dict[str, Any]]:
        while True:
            page = await self._ask(view, question)
            yield page
            if "next" not in page:
                return
            question = {**question, "cursor": page["next"]}

    async def _ask(self, view: str, question: Dict[str, Any]) -> Dict[str, Any]:
        reply = await self._request(view, question)
        try:
            answer = loads(reply.data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise AskError("unreadable", f"the answer on {reply.subject} is no object of JSON")
        return answer

    async def _request(self, view: str, question: Dict[str, Any]) -> Msg:
        """The reply to a question. Asks again while Daybook is not ready."""
        subject, body = self.subject("query", view), dumps(question) if question else b""
        patience = Patience(self.patience)
        while True:
            error: Optional[AskError]
            try:
                reply = await self.nc.request(subject, body, timeout=REQUEST_TIMEOUT)
                error = _error_of(reply)
                if error is None:
                    return reply
            except NoRespondersError:
                error = AskError("no_responders", f"nobody answers {subject}", hint="does a query service run?")
            except asyncio.TimeoutError:
                error = AskError(
                    "timeout", f"no reply in {REQUEST_TIMEOUT} s", hint="may this user ask for the tenant?"
                )
            if error.code not in ASK_AGAIN or not await patience.wait():
                raise error


def _error_of(reply: Msg) -> Optional[AskError]:
    """The error that a reply is, if it is one."""
    headers = reply.headers or {}
    number = headers.get("Nats-Service-Error-Code")
    if number is None:
        return None
    try:
        body = loads(reply.data)
        where = {name: body.get(name) for name in ("hint", "field", "position")}
        return AskError(body["code"], body["message"], number=int(number), **where)
    except (ValueError, LookupError, TypeError, AttributeError):
        return AskError("unreadable", f"error {number}: {headers.get('Nats-Service-Error')}")


async def _each(events: Union[Iterable[Event], AsyncIterable[Event]]) -> AsyncIterator[Event]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event
