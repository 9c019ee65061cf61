"""Errors of Daybook. Errors of the connection itself are those of nats-py."""

from __future__ import annotations

from typing import Any, Optional


class DaybookError(Exception):
    """Something that Daybook or this package refused.

    `code` is stable, `message` is for people. `hint` says what to do. `field` names the part of the question or event,
    such as `metrics[1]`; `position` counts bytes from the start of that field. Each of these three may be None.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: Optional[str] = None,
        field: Optional[str] = None,
        position: Optional[int] = None,
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" ({hint})" if hint else ""))
        self.code, self.message = code, message
        self.hint, self.field, self.position = hint, field, position


class AskError(DaybookError):
    """A question has no answer. docs/CLIENTS.md lists the codes. This package adds four:

    - `no_responders`: no query service runs, or the account may not ask for this tenant;
    - `timeout`: no reply came within 10 seconds;
    - `unreadable`: the reply is not what Daybook sends;
    - `too_many_rows`: a live view has more rows than `max_rows`.

    `number` is the error's number in the reply's header, such as 404; None for the four codes above.
    """

    def __init__(self, code: str, message: str, *, number: Optional[int] = None, **where: Any) -> None:
        super().__init__(code, message, **where)
        self.number = number


class PublishError(DaybookError):
    """An event is not published, or nobody knows whether it is. The codes are:

    - `inbox_full`: the buffer had no room for as long as `patience`. Nothing of the message was stored;
    - `no_responders`: the broker has no Daybook, or the account may not publish. Nothing was stored;
    - `unconfirmed`: no confirmation came. The message may be stored. `hint` says what to do;
    - `too_large`: one event does not fit into a message. Nothing was sent of it, nor of any event after it;
    - `bad_event`: an event is no dict, or cannot be written as JSON;
    - `refused`: the broker refused for another reason, which the message says.

    `published` counts the events of the call, from the first, that are stored for certain.
    """

    def __init__(self, code: str, message: str, *, published: int = 0, **where: Any) -> None:
        super().__init__(code, message, **where)
        self.published = published


class ReportError(DaybookError):
    """A report is not what its hash says: code `hash_mismatch`. Do not use its figures; ask again, or tell the operator."""
