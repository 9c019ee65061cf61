"""Follows a view live: `LiveRows` decides what a message means, `LiveView` asks, listens and asks again.

docs/CLIENTS.md, "Live feeds", has the protocol. A gap, a reset or a reconnect leads to a new snapshot.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, cast

from .errors import AskError
from .exact import loads
from .types import Answer, Row, View

if TYPE_CHECKING:
    from .client import Daybook

RENEW_AFTER = 10.0  # seconds; a feed ends 30 seconds after the last request for it
RECONNECT_CHECK = 1.0  # seconds between looks whether the connection is a new one
MAX_RANKED_ROWS = 100  # a feed has the first rows of a ranking only
MAX_WAITING_BYTES = 16 * 1024 * 1024  # of messages that nobody has read yet; more are dropped, which is a gap
# Snapshots for one message. Each takes what came until then, so more than one is rare.
MAX_SNAPSHOTS = 5

Key = Tuple[Any, ...]


@dataclass(frozen=True)
class Change:
    """What a step has changed. After a snapshot `rows` are all rows, and those before are void."""

    snapshot: bool
    date: str
    rows: List[Row]
    removed: List[Row]


def read_update(payload: bytes) -> Optional[Dict[str, Any]]:
    """The message of a feed, or None for what is no such message. If it took the place of one, the next shows a gap."""
    try:
        update = loads(payload)
        types = [type(update[field]) for field in ("feed", "sequence", "date", "reset", "rows", "removed")]
        rows = all(isinstance(row, dict) for row in update["rows"] + update["removed"])
        is_update = types == [str, int, str, bool, list, list] and rows and type(update["as_of"]["inbox"]) is int
    except (ValueError, LookupError, TypeError):
        return None
    return cast(Dict[str, Any], update) if is_update else None


class LiveRows:
    """The rows of a view, and which message of which feed they reflect."""

    def __init__(self) -> None:
        self.rows: Dict[Key, Row] = {}
        self.date: Optional[str] = None
        self.inbox = 0
        self.definition: Optional[int] = None
        self._key: List[str] = []
        self._ranked = False
        self._feed: Optional[str] = None
        self._sequence = 0

    def define(self, view: View) -> None:
        """Says which columns tell rows apart."""
        time = [] if view["grain"] == "day" else ["time"]
        self._ranked = view["ranked"]
        self._key = ["position"] if self._ranked else time + view["dimensions"]
        self.definition = view["definition"]
        self._feed = None

    def wants(self, answer: Answer) -> bool:
        """Whether a snapshot has something that the rows do not have yet."""
        feed = answer["feed"]
        return feed["feed"] != self._feed or feed["sequence"] > self._sequence

    def take(self, answer: Answer, rows: List[Row]) -> Change:
        """Replaces the rows by those of a snapshot."""
        self._feed, self._sequence = answer["feed"]["feed"], answer["feed"]["sequence"]
        self.date, self.inbox, self.rows = answer["to"], answer["as_of"]["inbox"], {}
        self._put(rows)
        return Change(True, self.date, list(self.rows.values()), [])

    def is_behind(self, update: Dict[str, Any]) -> bool:
        """Whether only a snapshot can bring the rows to where this message is."""
        if update["feed"] != self._feed or update["sequence"] <= self._sequence:
            return False
        return update["sequence"] != self._sequence + 1 or update["reset"] is True

    def apply(self, update: Dict[str, Any]) -> Optional[Change]:
        """Applies the next message. Returns None for a message of another feed or before the snapshot."""
        if update["feed"] != self._feed or update["sequence"] != self._sequence + 1:
            return None
        snapshot = update["date"] != self.date
        if snapshot:
            self.rows = {}  # another day has begun
        self._sequence, self.date, self.inbox = update["sequence"], update["date"], update["as_of"]["inbox"]
        removed = [self.rows.pop(self.key_of(row), row) for row in update["removed"]]
        self._put(update["rows"])
        return Change(snapshot, update["date"], update["rows"], [] if snapshot else removed)

    def key_of(self, row: Row) -> Key:
        """The columns that tell this row from all others."""
        return tuple(row.get(column) for column in self._key)

    def _put(self, rows: List[Row]) -> None:
        shown = [row for row in rows if not self._ranked or row.get("position", 0) <= MAX_RANKED_ROWS]
        self.rows.update((self.key_of(row), row) for row in shown)


class LiveView:
    """The rows of a view, kept current while somebody iterates. Made by `Daybook.follow`; for one reader.

        async with daybook.follow("sales") as live:
            print(live.rows)
            async for change in live:
                print(change.rows, change.removed)

    An error of an iteration ends nothing: iterate again to go on. A reader that pauses for long finds a snapshot.
    """

    def __init__(self, daybook: Daybook, view: str, max_rows: int) -> None:
        self._daybook, self._view, self._max_rows = daybook, view, max_rows
        self._state = LiveRows()
        self._grain = "day"
        self._subscription: Any = None
        self._renew_at = 0.0
        self._reconnects = 0

    @property
    def rows(self) -> Dict[Key, Row]:
        """The rows by key: the values of the view's dimensions; in a ranking, the position."""
        return self._state.rows

    @property
    def date(self) -> Optional[str]:
        """The business day of the rows."""
        return self._state.date

    @property
    def inbox(self) -> int:
        """The INBOX sequence that the rows reflect, to compare with what `publish` returned."""
        return self._state.inbox

    async def __aenter__(self) -> LiveView:
        # First subscribe, then ask: so no change falls in between.
        subject = self._daybook.subject("live", self._view)
        self._subscription = await self._daybook.nc.subscribe(subject, pending_bytes_limit=MAX_WAITING_BYTES)
        try:
            await self._renew()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening. The feed ends by itself."""
        if not self._daybook.nc.is_closed:
            await self._subscription.unsubscribe()

    def __aiter__(self) -> LiveView:
        return self

    async def __anext__(self) -> Change:
        """Waits for the next change. Raises AskError when Daybook does not answer for as long as `patience`."""
        while True:
            change = await self._step()
            if change is not None:
                return change

    async def _step(self) -> Optional[Change]:
        """Waits for a message, or until the feed is to be renewed."""
        rest = self._renew_at - asyncio.get_running_loop().time()
        if rest <= 0 or self._daybook.nc.stats["reconnects"] != self._reconnects:
            return await self._renew()
        try:
            message = await self._subscription.next_msg(timeout=min(rest, RECONNECT_CHECK))
        except asyncio.TimeoutError:
            return None
        update = read_update(message.data)
        return None if update is None else await self._follow(update)

    async def _follow(self, update: Dict[str, Any]) -> Optional[Change]:
        renewed: Optional[Change] = None
        for _ in range(MAX_SNAPSHOTS):
            if not self._state.is_behind(update):
                break
            renewed = await self._renew() or renewed
        applied = None if self._state.is_behind(update) else self._state.apply(update)
        if renewed is None or applied is None:
            return renewed or applied
        return Change(True, applied.date, list(self.rows.values()), [])

    async def _renew(self) -> Optional[Change]:
        """Asks for the feed, which starts or prolongs it, and takes the answer if it has news."""
        self._reconnects = self._daybook.nc.stats["reconnects"]
        answer = await self._daybook.ask(self._view, watch=True)  # type: ignore[call-arg]
        self._renew_at = asyncio.get_running_loop().time() + RENEW_AFTER
        if answer["definition"] != self._state.definition:
            await self._define()
        return self._state.take(answer, await self._all_rows(answer)) if self._state.wants(answer) else None

    async def _define(self) -> None:
        for view in await self._daybook.views():
            if view["name"] == self._view:
                self._grain = view["grain"]
                return self._state.define(view)
        raise AskError("unknown_view", f"there is no view {self._view!r}")

    async def _all_rows(self, answer: Answer) -> List[Row]:
        """The rows of a snapshot. Those after its first page may be ahead of the feed, which catches up."""
        rows, page = list(answer["rows"]), answer
        grain = {} if self._grain == "day" else {"grain": self._grain}
        while "next" in page and not self._state._ranked:
            if answer["total"] > self._max_rows:
                message = f"{self._view} has {answer['total']} rows, more than {self._max_rows}"
                raise AskError("too_many_rows", message, hint="raise max_rows, or ask for fewer columns instead")
            page = await self._daybook.ask(self._view, cursor=page["next"], **grain)  # type: ignore[arg-type]
            rows += page["rows"]
        return rows
