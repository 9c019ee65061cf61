"""Keys and values of the handlers' store: an event is written under its tenant, business day, id and version, and never read before.

Written twice, it is there once. The newest version of an order is the last one behind its id.
"""

from datetime import datetime, timedelta

from events import Group
from rocksdict import DBCompressionType, Options, Rdict


def options() -> Options:
    """Of the writer and of readers. The write-ahead log is on; it is not synced, like Daybook's broker by default."""
    made = Options(raw_mode=True)
    made.create_if_missing(True)
    made.set_write_buffer_size(64 << 20)
    made.set_max_write_buffer_number(4)
    made.set_max_background_jobs(2)
    made.set_compression_type(DBCompressionType.lz4())
    # Readers need it: they must keep files open that the writer may remove.
    made.set_max_open_files(-1)
    return made


def business_day(at: str, cut_off: int) -> str:
    """The local date of the business day in UTC, which begins at the hour `cut_off`."""
    return (datetime.fromisoformat(at) - timedelta(hours=cut_off)).date().isoformat()


def prefix_of(tenant: bytes, day: str) -> bytes:
    return b"%b\0%b\0" % (tenant, day.encode())


def key_of(tenant: bytes, day: str, order: str, version: int) -> bytes:
    return b"%b%b\0%b" % (prefix_of(tenant, day), order.encode(), version.to_bytes(8, "big"))


def value_of(store: str, cents: int) -> bytes:
    return cents.to_bytes(8, "big", signed=True) + store.encode()


def figures(store: Rdict, tenant: str, day: str) -> dict[str, Group]:
    """A tenant's day by store, computed from its events."""
    prefix = prefix_of(tenant.encode(), day)
    newest: dict[bytes, bytes] = {}
    for key, value in store.items(from_key=prefix):
        if not key.startswith(prefix):
            break
        newest[key[:-8]] = value
    orders: dict[bytes, int] = {}
    revenue: dict[bytes, int] = {}
    largest: dict[bytes, int] = {}
    for value in newest.values():
        name, cents = value[8:], int.from_bytes(value[:8], "big", signed=True)
        orders[name] = orders.get(name, 0) + 1
        revenue[name] = revenue.get(name, 0) + cents
        if cents > largest.get(name, -1):
            largest[name] = cents
    return {name.decode(): Group(orders[name], revenue[name], largest[name]) for name in orders}


def held(store: Rdict) -> set[bytes]:
    """Keys of all events in the store."""
    return set(store.keys())
