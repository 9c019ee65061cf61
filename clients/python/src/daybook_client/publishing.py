"""Turns events into messages, and the broker's reply into a sequence or an error. Nothing here talks to the broker."""

from __future__ import annotations

from typing import Any, List, Optional, Union

from .errors import PublishError
from .exact import dumps, loads

MAX_MESSAGE_BYTES = 1024 * 1024
MAX_BATCH = 10_000  # events of one message
FULL = 10077  # the broker's code for a stream that has no room

# Without a confirmation, a message may be stored or not.
REPEAT = "publish it again if each of its events has an id; otherwise look at the figures first"


class Batch:
    """Encoded events that become one message of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = min(limit, MAX_MESSAGE_BYTES)
        self.repeatable = True  # whether each event has an id, so that sending it twice counts it once
        self._events: List[bytes] = []
        self._bytes = 2  # the brackets; each event adds itself and a comma

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: bytes, has_id: bool) -> bool:
        """Adds the event, or returns False when it belongs into the next message."""
        if self._bytes + len(event) + 1 > self.limit or len(self) == MAX_BATCH:
            return False
        self._events.append(event)
        self._bytes += len(event) + 1
        self.repeatable = self.repeatable and has_id
        return True

    def payload(self) -> bytes:
        return b"[" + b",".join(self._events) + b"]"


def with_id(event: Any, name: Optional[str], number: int) -> Any:
    """The event, with the id `name/number` if it has none and a name is given."""
    if not isinstance(event, dict):
        raise PublishError("bad_event", f"event {number} is a {type(event).__name__}", hint="an event is a dict")
    return {**event, "id": f"{name}/{number}"} if name is not None and event.get("id") is None else event


def encoded(event: Any, number: int) -> bytes:
    """The event in JSON. Raises PublishError if it has no exact form."""
    try:
        return dumps(event)
    except (TypeError, ValueError, RecursionError) as error:
        raise PublishError("bad_event", f"event {number}: {error}") from error


def too_large(number: int, size: int, limit: int) -> PublishError:
    message = f"event {number} takes {size} bytes, and a message takes at most {limit}"
    return PublishError("too_large", message, hint="an event may have 64 KiB")


def read_ack(payload: bytes) -> Union[int, PublishError]:
    """The INBOX sequence out of a PubAck, or why the message is not stored."""
    try:
        ack = loads(payload)
        error = ack.get("error")
        if error is None and type(ack["seq"]) is int:
            return ack["seq"]
        code, description = error["err_code"], str(error["description"])
    except (ValueError, AttributeError, LookupError, TypeError):
        return PublishError("unconfirmed", "the reply is no confirmation of JetStream", hint=REPEAT)
    if code == FULL:
        return PublishError("inbox_full", description, hint="nothing was stored: publish again, more slowly")
    return PublishError("refused", f"{description} ({code})")
