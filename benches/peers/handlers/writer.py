"""Sends the events of one writer in one phase: python3 writer.py SPEC, which main.py makes.

Says `ready` when the events are encoded, begins at the time that it is told, and prints what came of them as JSON.
"""

import asyncio
import json
import sys
import time
from array import array
from collections import deque
from datetime import datetime, timezone

import uvloop

import doors
from events import Stretch

# Most messages without an answer, of each writer.
WINDOW = 1_000
# Messages that are sent before acknowledgements are looked at.
TURN = 50
# A message without an answer is sent again after this time, and one that was refused or lost after this pause, in seconds.
RESEND, PAUSE = 5, 0.05
# An event counts from when it was due. The timers of the writer are not exact: one that is sent at most so late counts from then.
LATE = 0.005
# How long answers may take after the end of a phase, and a phase without an end of its own.
DRAIN, LIMIT = 30, 300


class Writer:
    def __init__(self, spec: dict):
        stretch = Stretch(spec["seed"], spec["phase"], spec["writer"], spec["tenants"])
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self.events = [(event.tenant, event.encoded(at)) for event in stretch.events(spec["count"])]
        # Events a second; as fast as they are taken when absent.
        self.rate = spec.get("rate")
        self.seconds = spec.get("seconds") or LIMIT
        self.door = doors.door(spec, self)
        self.next = 0
        # By event without an answer: when it was due, and when it was sent last.
        self.due: dict[int, float] = {}
        self.sent: dict[int, float] = {}
        self.again: deque[int] = deque()
        self.took = array("d")
        # Events that were refused or lost and sent again.
        self.repeated: set[int] = set()
        self.last = 0.0

    def stored(self, index: int, _position: int | None) -> None:
        due = self.due.pop(index, None)
        if due is not None:
            self.last = time.perf_counter()
            self.took.append(self.last - due)
            del self.sent[index]

    def busy(self, index: int) -> None:
        self.repeated.add(index)
        self.loop.call_later(PAUSE, self.again.append, index)

    def lost(self, index: int) -> None:
        self.repeated.add(index)
        self.loop.call_later(PAUSE, self.again.append, index)

    def all_lost(self) -> None:
        self.repeated |= self.due.keys()
        self.again.extend(self.due)

    async def send(self, index: int) -> None:
        self.sent[index] = time.perf_counter()
        await self.door.send(index, *self.events[index])

    async def run(self, began: float) -> None:
        ends, swept = began + self.seconds, began
        while True:
            now = time.perf_counter()
            for _ in range(min(len(self.again), TURN)):
                index = self.again.popleft()
                if index in self.due:
                    await self.send(index)
            pause = await self.send_new(began, now) if now < ends else 0.001
            if now - swept > 0.5:
                swept = now
                silent = [index for index, sent in self.sent.items() if now - sent > RESEND]
                self.repeated.update(silent)
                self.again.extend(silent)
            is_over = now >= ends or self.next == len(self.events)
            if is_over and (not self.due or now >= ends + DRAIN):
                return
            await asyncio.sleep(0 if self.again else pause)

    async def send_new(self, began: float, now: float) -> float:
        """Sends what is due, within the window; returns how long to wait."""
        for _ in range(TURN):
            if self.next == len(self.events) or len(self.due) >= WINDOW:
                return 0.001
            due = now if self.rate is None else began + self.next / self.rate
            if due > now:
                return due - now
            self.due[self.next] = due if now - due > LATE else time.perf_counter()
            self.next += 1
            await self.send(self.next - 1)
        return 0

    async def main(self, spec: dict) -> None:
        self.loop = asyncio.get_running_loop()
        await self.door.open()
        print("ready", flush=True)
        line = await self.loop.run_in_executor(None, sys.stdin.readline)
        await asyncio.sleep(max(float(line) - time.time(), 0))
        began, busy = time.perf_counter(), time.process_time()
        await self.run(began)
        with open(spec["times"], "wb") as file:
            self.took.tofile(file)
        print(
            json.dumps(
                {
                    "sent": self.next,
                    "unanswered": sorted(self.due),
                    "seconds": self.last - began,
                    "busy": time.process_time() - busy,
                    "again": len(self.repeated),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    uvloop.run(Writer(given).main(given))
