"""The events, from a seed, and a plain recomputation of the figures that must come of them.

An event is a version of an order: a tenant, an id, a version, a store and an amount in cents. Nine tenths are new orders. The others
correct one of the newest orders of the same writer: another amount, and sometimes another store.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import orjson

STORES = 20
# Percent of events that correct an order, and of those that move it to another store.
CORRECTIONS, MOVES = 10, 5
# Corrections concern so many of a writer's newest orders.
NEWEST = 1_000


class Event(NamedTuple):
    tenant: str
    id: str
    version: int
    store: str
    cents: int

    def encoded(self, at: str) -> bytes:
        """The event as Daybook takes it; handlers take the same."""
        return orjson.dumps(
            {
                "id": self.id,
                "version": self.version,
                "at": at,
                "dims": {"store": self.store},
                "measures": {"cents": self.cents},
            }
        )


class Group(NamedTuple):
    """Figures of a tenant's store."""

    orders: int
    revenue: int
    largest: int


@dataclass(frozen=True)
class Stretch:
    """The events of one writer in one phase: always the same ones for the same values."""

    seed: int
    phase: str
    writer: int
    tenants: int

    def events(self, count: int) -> list[Event]:
        source = random.Random(f"{self.seed}.{self.phase}.{self.writer}")
        names = tenants(self.tenants)
        weights = cumulative(self.tenants)
        made: list[Event] = []
        newest: list[Event] = []
        for number in range(count):
            if newest and source.randrange(100) < CORRECTIONS:
                at = source.randrange(len(newest))
                before = newest[at]
                store = before.store if source.randrange(100) >= MOVES else one_store(source)
                event = before._replace(version=before.version + 1, store=store, cents=amount(source))
                newest[at] = event
            else:
                (tenant,) = source.choices(names, cum_weights=weights)
                event = Event(tenant, f"{self.phase}-{self.writer}-{number}", 1, one_store(source), amount(source))
                if len(newest) < NEWEST:
                    newest.append(event)
                else:
                    newest[number % NEWEST] = event
            made.append(event)
        return made


def one_store(source: random.Random) -> str:
    return f"s{source.randrange(STORES):02}"


def amount(source: random.Random) -> int:
    return source.randrange(100, 50_000)


def tenants(count: int) -> list[str]:
    return [f"t{number:03}" for number in range(count)]


def cumulative(count: int) -> list[float]:
    """Weights of tenants by 1/n, added up."""
    return list(accumulate(1 / (number + 1) for number in range(count)))


def recompute(events: Iterable[Event]) -> dict[str, dict[str, Group]]:
    """By tenant and store: the newest version of each order counts, however often and in whatever order versions came."""
    newest: dict[tuple[str, str], Event] = {}
    for event in events:
        known = newest.get((event.tenant, event.id))
        if known is None or known.version < event.version:
            newest[event.tenant, event.id] = event
    figures: dict[str, dict[str, Group]] = {}
    for event in newest.values():
        stores = figures.setdefault(event.tenant, {})
        before = stores.get(event.store, Group(0, 0, 0))
        stores[event.store] = Group(before.orders + 1, before.revenue + event.cents, max(before.largest, event.cents))
    return figures
