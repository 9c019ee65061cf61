"""ClickHouse on the same work, in this process by chDB: aggregating materialised views, and the newest of each order.

Bids are aggregated as they are inserted and not kept. Orders are corrected, which states that were aggregated cannot take
back: the newest version of each is kept, and figures are computed when they are read. Every insert is synced to disk.
"""

import os
from pathlib import Path

from chdb import session

from measure import Load, folder, milliseconds, row, timed
from work import Work, equal

# Events of an insert.
BATCH = 100_000
SYNCED = "settings fsync_after_insert = 1, fsync_part_directory = 1"
BID = "day Date, at_ms Int64, auction UInt64, bidder UInt64, channel String, price Int64"
ORDER = """tenant LowCardinality(String), id String, version UInt64, status LowCardinality(String), day Date, at_ms Int64,
    store LowCardinality(String), customer String, amount Int64"""

RANKS = {"total": "1", "rank1": "price < 10000", "rank2": "price >= 10000 and price < 1000000", "rank3": "price >= 1000000"}
Q15 = {f"{rank}_bids": ("countIf", where) for rank, where in RANKS.items()}
Q15 |= {f"{rank}_bidders": ("uniqExactIf", f"bidder, {where}") for rank, where in RANKS.items()}
Q15 |= {f"{rank}_auctions": ("uniqExactIf", f"auction, {where}") for rank, where in RANKS.items()}
Q17 = {f"{rank}_bids": ("countIf", where) for rank, where in RANKS.items()}
Q17 |= {"min_price": ("min", "price"), "max_price": ("max", "price"), "sum_price": ("sum", "price")}
# In the order of the names; no alias may be that of a column. The quantile is by nearest rank.
NAMES = ("orders", "amount", "least", "most", "customers", "p95")
FIGURES = """count() as f0, sum(amount) as f1, min(amount) as f2, max(amount) as f3, uniqExact(customer) as f4,
    quantileExactWeighted(0.95)(amount, 1) as f5"""


def run(work: Work) -> None:
    for measure in (orders, bids):
        with folder("clickhouse") as home:
            opened = session.Session(str(home / "data"))
            try:
                measure(work, opened, home)
            finally:
                opened.close()


def files(work: Work, home: Path, name: str) -> list[tuple[int, Path]]:
    """A file for each insert, and its lines."""
    made = []
    for number, (count, lines) in enumerate(work.batches(name, BATCH)):
        path = home / f"{number}-{name}"
        path.write_bytes(lines)
        made.append((count, path))
    return made


def load(opened: session.Session, table: str, columns: str, made: list[tuple[int, Path]]) -> dict[str, str]:
    with Load(os.getpid()) as loading:
        for _, path in made:
            opened.query(f"insert into {table} select * from file('{path}', 'CSV', '{columns}')")
    return loading.figures(sum(count for count, _ in made))


def rows(opened: session.Session, query: str) -> list[list[str]]:
    text = str(opened.query(query, "TabSeparated"))
    return [line.split("\t") for line in text.splitlines()]


def bids(work: Work, opened: session.Session, home: Path) -> None:
    made = files(work, home, "bids.csv")
    for name, by, metrics in (("q17", "day, auction", Q17), ("q15", "day", Q15)):
        states = ", ".join(f"{state(function)}({of}) as {metric}" for metric, (function, of) in metrics.items())
        merged = ", ".join(f"{function.removesuffix('If')}Merge({metric})" for metric, (function, _) in metrics.items())
        opened.query(f"create table {name}_in ({BID}) engine = Null")
        opened.query(
            f"create materialized view {name} engine = AggregatingMergeTree order by ({by}) {SYNCED} "
            f"as select {by}, {states} from {name}_in group by {by}"
        )
        figures = load(opened, f"{name}_in", BID, made)
        if name == "q15":
            lines = rows(opened, f"select day, {merged} from q15 group by day")
            found = {line[0]: dict(zip(metrics, map(int, line[1:]))) for line in lines}
            equal("q15", found, work.expected["q15"])
        else:
            each = ", ".join(f"{metric} as f{place}" for place, metric in enumerate(merged.split(", ")))
            sums = ", ".join(f"sum(f{place})" for place in range(len(metrics)))
            (line,) = rows(opened, f"select count(), {sums} from (select {each} from q17 group by {by})")
            work.check("q17", dict(zip(["groups", *metrics], map(int, line))))
        row("bids", f"ClickHouse, aggregating materialised view, {name}", figures, note=f"inserts of {BATCH:,}, each synced")


def state(function: str) -> str:
    """`countIf` is `countStateIf`: the state's type has no condition."""
    return function.replace("If", "StateIf") if function.endswith("If") else f"{function}State"


def orders(work: Work, opened: session.Session, home: Path) -> None:
    made = files(work, home, "orders.csv")
    opened.query(f"create table orders ({ORDER}) engine = ReplacingMergeTree(version) order by (tenant, day, id) {SYNCED}")
    figures = load(opened, "orders", ORDER, made)
    newest = "from orders final where status = 'final'"
    sums = ", ".join(f"sum(f{place})" for place in range(len(NAMES)))
    by_store = f"select {FIGURES} {newest} group by tenant, day, store"
    (line,) = rows(opened, f"select count(), {sums} from ({by_store})")
    work.check("orders", dict(zip(("groups", *NAMES), map(int, line))))

    days, best = [], []
    for read in work.reads:
        where = f"{newest} and tenant = '{read['tenant']}' and day = '{read['day']}'"
        took, lines = timed(lambda: rows(opened, f"select store, {FIGURES} {where} group by store"))
        days.append(took)
        found = (sum(int(line[1]) for line in lines), sum(int(line[2]) for line in lines))
        equal(str(read), found, (int(read["orders"]), int(read["amount"])))
        query = f"select store, sum(amount) as total {where} group by store order by total desc limit 10"
        best.append(timed(lambda: rows(opened, query))[0])
    figures |= milliseconds("tenant-day", days) | milliseconds("top ten", best)

    times = []
    for correction in work.corrections:
        *values, expected = correction.values()
        where = f"{newest} and tenant = '{correction['tenant']}' and day = '{correction['day']}'"

        def once() -> int:
            opened.query(f"insert into orders values ({', '.join(map(repr, values))})")
            return int(rows(opened, f"select sum(amount) {where}")[0][0])

        took, found = timed(once)
        times.append(took)
        equal(f"after {correction['id']}", found, int(expected))
    figures |= milliseconds("correction", times)
    note = f"inserts of {BATCH:,}, each synced"
    row("orders", "ClickHouse, newest version, all figures computed when read", figures, note=note)
