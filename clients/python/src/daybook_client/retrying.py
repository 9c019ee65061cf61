"""Waits between tries: each wait is twice the one before, up to a second, less a random part of up to a half."""

from __future__ import annotations

import asyncio
import random
import time

FIRST_WAIT = 0.02  # seconds
LONGEST_WAIT = 1.0  # seconds


class Patience:
    """How long to go on trying, in seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._wait = FIRST_WAIT

    async def wait(self) -> bool:
        """Waits before the next try. Returns False at once if there is no time left for it."""
        wait = self._wait * random.uniform(0.5, 1.0)
        if time.monotonic() + wait > self._until:
            return False
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        await asyncio.sleep(wait)
        return True
