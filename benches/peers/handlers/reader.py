"""Asks for figures while a phase lasts: python3 reader.py SPEC, which main.py makes. Says `ready`, begins when it is told, ends at the
end of its input, and prints its times as JSON.

Now and then it writes an order by itself and asks until the figures include it.
"""

import asyncio
import json
import random
import sys
import time
from datetime import datetime, timezone

import uvloop

import askers
from doors import Single
from events import Event, cumulative, tenants

# Seconds between two questions, questions between two orders of its own, and seconds until such an order is sent again.
PACE, EVERY, PATIENCE = 0.05, 20, 5
# How long an order that was acknowledged may take to show where acknowledged events may be lost, in seconds.
GIVE_UP = 2
# The reader's own tenant, store and amount.
TENANT, STORE, CENTS = "probe", "s00", 100


def probe(phase: str, number: int) -> Event:
    return Event(TENANT, f"{phase}-probe-{number}", 1, STORE, CENTS)


async def main(spec: dict) -> None:
    loop = asyncio.get_running_loop()
    source = random.Random(f"{spec['seed']}.{spec['phase']}.reader")
    names, weights = tenants(spec["tenants"]), cumulative(spec["tenants"])
    asker, single = askers.asker(spec, "reader"), Single(spec)
    await asker.open()
    await single.door.open()
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    ended = loop.run_in_executor(None, sys.stdin.read)
    # Orders that the figures of its tenant included before.
    known = spec["known"]
    limit = GIVE_UP if spec["may_lose"] else askers.PATIENCE
    reads, seen, turn, probes = [], [], 0, 0
    while not ended.done():
        turn += 1
        due = time.perf_counter() + PACE
        began = time.perf_counter()
        if turn % EVERY:
            (tenant,) = source.choices(names, cum_weights=weights)
            await asker.ask(tenant)
            reads.append(time.perf_counter() - began)
        else:
            at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            position = await single.put(TENANT, probe(spec["phase"], probes).encoded(at), PATIENCE)
            probes += 1
            while (found := await asker.ask(TENANT, position)).get(STORE, (0,))[0] <= known:
                if time.perf_counter() - began > limit:
                    break
                await asyncio.sleep(askers.SOON)
            else:
                known += 1
                seen.append(time.perf_counter() - began)
                continue
            if not spec["may_lose"]:
                raise TimeoutError(f"an order does not show: {found}")
        await asyncio.sleep(max(due - time.perf_counter(), 0))
    print(json.dumps({"reads": reads, "seen": seen, "probes": probes, "known": known}), flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    uvloop.run(main(given))
