"""JSON without binary floats: decimals are read as `Decimal`, and written as text with all their digits."""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from .errors import DaybookError

# What the names of tenants, kinds and views are made of. Anything else would change the subject of a message.
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def loads(payload: bytes) -> Any:
    """Reads JSON. Raises ValueError when it is not JSON, or is nested too deeply."""
    try:
        return json.loads(payload, parse_float=Decimal)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Writes JSON without blanks. Raises TypeError or ValueError for what has no exact form in JSON."""
    text = json.dumps(value, default=_text_of, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _text_of(value: Any) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: give it one, such as datetime.timezone.utc")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be written as JSON")


def checked_name(what: str, name: str) -> str:
    """The name, if it can be one. Raises DaybookError `bad_name` otherwise."""
    if isinstance(name, str) and NAME.match(name):
        return name
    raise DaybookError(
        "bad_name",
        f"{name!r} is not the name of a {what}",
        hint="1 to 64 of A-Z a-z 0-9 _ -",
        field=what,
    )
