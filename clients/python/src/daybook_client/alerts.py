"""Follows the alerts of a tenant: `AlertFeed` listens for when to ask, and asks for the alerts after a place.

A message on `daybook.alerts.<tenant>` only says that it is time to ask. The pages of `~alerts` say which alerts there are.
So a message that is lost, repeated or forged adds and hides no alert.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Optional, cast

from .types import AlertPage

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from .client import Daybook

ASK_AFTER = 10.0  # seconds; without a message, for one may be lost
# Seconds to the second question about a message: a service may read a copy of the stream that is a moment behind.
ASK_AGAIN_AFTER = 1.0


class AlertFeed:
    """The alerts after a place, and those that come. Made by `Daybook.follow_alerts`; for one reader.

        async with daybook.follow_alerts(place) as feed:
            async for page in feed:
                for alert in page["alerts"]:
                    print(alert["alert"], alert["day"])
                place = page["newer"]  # store it when the page is handled

    An error of an iteration ends nothing: iterate again to go on at the same place.
    """

    def __init__(self, daybook: Daybook, place: Optional[str]) -> None:
        self._daybook, self._place = daybook, place
        self._subscription: Any = None
        self._heard: asyncio.Event
        self._ask_at = 0.0

    @property
    def place(self) -> Optional[str]:
        """Where the feed is: the `newer` of its last page."""
        return self._place

    async def __aenter__(self) -> AlertFeed:
        # First subscribe, then ask: so no alert falls in between.
        self._heard = asyncio.Event()
        subject = f"{self._daybook.prefix}.alerts.{self._daybook.tenant}"
        self._subscription = await self._daybook.nc.subscribe(subject, cb=self._note)
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening."""
        if not self._daybook.nc.is_closed:
            await self._subscription.unsubscribe()

    def __aiter__(self) -> AlertFeed:
        return self

    async def __anext__(self) -> AlertPage:
        """Waits for the next page with alerts, oldest first. Raises AskError when Daybook does not answer for as long as
        `patience`."""
        while True:
            page = await self._step()
            if page["alerts"] or page.get("missed"):
                return page

    async def _step(self) -> AlertPage:
        """Waits until it is time to ask, and asks."""
        now = asyncio.get_running_loop().time
        try:
            await asyncio.wait_for(self._heard.wait(), max(0.0, self._ask_at - now()))
        except asyncio.TimeoutError:
            pass
        is_heard = self._heard.is_set()
        self._heard.clear()
        self._ask_at = now()  # if the question fails, it is time to ask again
        question = {} if self._place is None else {"cursor": self._place}
        page = cast(AlertPage, await self._daybook.ask("~alerts", **question))  # type: ignore[arg-type]
        # The `next` of the first page leads to older alerts.
        has_more = self._place is not None and "next" in page
        self._place = page["newer"]
        if not has_more:
            self._ask_at = now() + (ASK_AGAIN_AFTER if is_heard else ASK_AFTER)
        return page

    async def _note(self, _: Msg) -> None:
        self._heard.set()
