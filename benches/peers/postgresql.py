"""PostgreSQL on the same work: a materialised view, hot counter rows, and a periodic upsert of differences.

A private server on a temporary folder and socket, with fsync and synchronous commit, as it comes; memory, checkpoints
and parallelism are set as for a server that has this machine to itself.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg

import postgresql_sql as sql
from measure import Load, Missing, await_end, folder, milliseconds, program, row, timed
from work import Work, equal

SETTINGS = """
listen_addresses = ''
max_connections = 50
shared_buffers = 2GB
effective_cache_size = 8GB
work_mem = 256MB
maintenance_work_mem = 1GB
max_wal_size = 8GB
checkpoint_timeout = 15min
wal_compression = on
jit = off
"""
DEBIAN = "usr/lib/postgresql/*/bin/"
BATCH = 50_000
# How long a server may take to start or to stop, in seconds.
PATIENCE = 60
# Refreshes are slow: so many corrections are made with one after each.
REFRESHES = 5
# Of hot rows: clients, seconds, and rows among which updates are spread by Zipf.
CLIENTS, SECONDS, SPREAD = 10, 10, 20_000


class Server:
    def __init__(self, home: Path, pid: int):
        self.home, self.pid = home, pid

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(host=str(self.home), user="bench", dbname="postgres", autocommit=True)


@contextmanager
def server():
    binaries = {name: program(name, DEBIAN + name) for name in ("initdb", "postgres")}
    with folder("postgresql") as home:
        # The server does not run as root; Debian's package makes this user.
        user = None
        if os.geteuid() == 0:
            try:
                user = pwd.getpwnam("postgres").pw_name
            except KeyError:
                raise Missing("there is no user postgres, and the server does not run as root") from None
            shutil.chown(home, user)
        data = home / "data"
        initdb = [binaries["initdb"], "-D", data, "-U", "bench", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, user=user, cwd=home, stdout=subprocess.DEVNULL)
        with open(data / "postgresql.conf", "a") as settings:
            settings.write(SETTINGS + f"unix_socket_directories = '{home}'\n")
        with open(home / "log", "wb") as log:
            process = subprocess.Popen(
                [binaries["postgres"], "-D", data], user=user, cwd=home, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            started = Server(home, process.pid)
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    started.connect().close()
                    break
                except psycopg.OperationalError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise Missing(f"the server does not start: {(home / 'log').read_text()[-200:]}") from None
                    time.sleep(0.1)
            yield started
        finally:
            process.send_signal(signal.SIGINT)  # Ends at once, in good order.
            await_end(process, PATIENCE)


def run(work: Work) -> None:
    for measure in (materialised, differences, everything, counters, bids):
        # Each on a server of its own: what one leaves to be cleaned up slows no other.
        with server() as started:
            measure(work, started)


def copy(connection: psycopg.Connection, table: str, lines: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy(f"copy {table} from stdin (format csv)") as copying:
        copying.write(lines)


def load(work: Work, started: Server, statements: list[str], name: str, limit: int | None = None) -> dict[str, str]:
    """Each batch into the table `batch` and through the statements, in one transaction."""
    batches = work.batches(name, BATCH, limit)
    with started.connect() as connection, Load(started.pid) as loading:
        connection.execute(sql.BATCH[name])
        for _, lines in batches:
            with connection.transaction():
                connection.execute("truncate batch")
                copy(connection, "batch", lines)
                for statement in statements:
                    connection.execute(statement)
    return loading.figures(sum(count for count, _ in batches))


def totals(connection: psycopg.Connection, statement: str) -> dict[str, int]:
    cursor = connection.execute(statement)
    names = [column.name for column in cursor.description]
    return {name: int(value) for name, value in zip(names, cursor.fetchone())}


def read(work: Work, connection: psycopg.Connection) -> dict[str, str]:
    """Each tenant's day, and the ten best stores of it."""
    days, best = [], []
    for expected in work.reads:
        key = (expected["tenant"], expected["day"])
        took, rows = timed(lambda: connection.execute(sql.DAY, key, prepare=True).fetchall())
        days.append(took)
        found = (sum(line[1] for line in rows), sum(line[2] for line in rows))
        equal(f"{key}", found, (int(expected["orders"]), int(expected["amount"])))
        took, _ = timed(lambda: connection.execute(sql.TOP_TEN, key, prepare=True).fetchall())
        best.append(took)
    return {**milliseconds("tenant-day", days), **milliseconds("top ten", best)}


def correct(corrections: list[dict], connection: psycopg.Connection, statements: list[str]) -> dict[str, str]:
    """From the correction of one order until its tenant's day shows it."""
    times = []
    connection.execute(sql.BATCH["orders.csv"])
    for correction in corrections:
        *values, expected = correction.values()

        def once() -> int:
            with connection.transaction():
                connection.execute("truncate batch")
                connection.execute(sql.INSERT_ONE, values)
                for statement in statements:
                    connection.execute(statement)
            key = (correction["tenant"], correction["day"])
            return int(connection.execute(sql.DAY_AMOUNT, key).fetchone()[0])

        took, found = timed(once)
        times.append(took)
        equal(f"the day after {correction['id']}", found, int(expected))
    return milliseconds("correction", times)


def materialised(work: Work, started: Server) -> None:
    """Orders are upserted; the view is computed anew by each refresh. With all figures, and with the cheap ones alone."""
    with started.connect() as connection:
        connection.execute(sql.ORDERS)
        loaded = load(work, started, [sql.UPSERT], "orders.csv")
        done = 0
        for name, select in (("all figures", sql.FULL), ("count, sum, min and max", sql.CHEAP)):
            connection.execute(f"create materialized view stores as {select}")
            connection.execute("create unique index on stores (tenant, day, store)")
            connection.execute("vacuum analyze")
            figures = dict(loaded)
            if not done:
                work.check("orders", totals(connection, sql.TOTALS))
                figures |= read(work, connection)
            corrections = work.corrections[done : done + REFRESHES]
            done += REFRESHES
            figures |= correct(corrections, connection, [sql.UPSERT, "refresh materialized view stores"])
            note = "a refresh after each correction; rates without refreshes"
            row("orders", f"PostgreSQL, materialised view, {name}", figures, note=note)
            connection.execute("drop materialized view stores")


def differences(work: Work, started: Server) -> None:
    """Each period's batch changes count and sum of its groups by the difference; a correction is a batch of its own."""
    with started.connect() as connection:
        connection.execute(sql.ORDERS)
        connection.execute(sql.STORES)
        figures = load(work, started, [sql.DIFFERENCES], "orders.csv")
        connection.execute("vacuum analyze")
        found = totals(connection, sql.SHORT_TOTALS)
        work.check("orders", found, only=("groups", "orders", "amount"))
        figures |= read(work, connection) | correct(work.corrections, connection, [sql.DIFFERENCES])
        row("orders", "PostgreSQL, upsert of differences, count and sum", figures, note=f"periods of {BATCH:,} events")


def everything(work: Work, started: Server) -> None:
    """The same with distinct customers counted, and min, max and p95 computed anew for groups that change."""
    with started.connect() as connection:
        for statement in (sql.ORDERS, sql.STORES, sql.CUSTOMERS, sql.BY_STORE):
            connection.execute(statement)
        statements = [sql.TOUCHED_TABLE, sql.TOUCHED, sql.CUSTOMERS_DIFFERENCES, sql.DIFFERENCES, sql.RECOMPUTED]
        figures = load(work, started, statements, "orders.csv", work.expected["short"])
        work.check("short_orders", totals(connection, sql.TOTALS))
        note = f"periods of {BATCH:,} events; slower the more there are"
        row("orders", "PostgreSQL, upsert of differences, all figures", figures, note=note)


def bids(work: Work, started: Server) -> None:
    """The same for bids, which are not kept: q15 and q17 of each batch."""
    with started.connect() as connection:
        for statement in sql.BIDS:
            connection.execute(statement)
        figures = load(work, started, [sql.Q17], "bids.csv")
        work.check("q17", totals(connection, sql.Q17_TOTALS))
        row("bids", "PostgreSQL, upsert of differences, q17", figures, note=f"periods of {BATCH:,} bids")
        figures = load(work, started, sql.Q15, "bids.csv")
        found: dict[str, dict[str, int]] = {}
        for day, what, rank, n in connection.execute(sql.Q15_FOUND):
            found.setdefault(day, {})[f"rank{rank}_{what}" if rank else f"total_{what}"] = n
        equal("q15", found, work.expected["q15"])
        row("bids", "PostgreSQL, upsert of differences, q15", figures, note=f"periods of {BATCH:,} bids")


def counters(_work: Work, started: Server) -> None:
    """A transaction for each event, which adds one to a row: of one row, and of many."""
    pgbench = program("pgbench", DEBIAN + "pgbench")
    environment = {**os.environ, "PGHOST": str(started.home), "PGUSER": "bench", "PGDATABASE": "postgres"}
    with started.connect() as connection:
        connection.execute("create table counters (id integer primary key, n bigint not null, amount bigint not null)")
        for name, row_of, durable in (
            ("one hot row", "1", "on"),
            ("one hot row, synchronous_commit off", "1", "off"),
            (f"{SPREAD:,} rows by Zipf", f"random_zipfian(1, {SPREAD}, 1.001)", "on"),
        ):
            connection.execute("truncate counters")
            script = started.home / "script.sql"
            script.write_text(f"\\set row {row_of}\n{sql.COUNT_ONE}")
            command = [pgbench, "--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}", "--jobs=2"]
            command += [f"--time={SECONDS}", f"--file={script}"]
            options = {**environment, "PGOPTIONS": f"-c synchronous_commit={durable}"}
            with Load(started.pid) as loading:
                done = subprocess.run(command, env=options, check=True, capture_output=True, text=True).stdout
            counted = connection.execute("select sum(n) from counters").fetchone()[0]
            processed = int(re.search(r"actually processed: (\d+)", done).group(1))
            equal("counted", int(counted), processed)
            latency = re.search(r"latency average = ([\d.]+) ms", done).group(1)
            note = f"a transaction an event, {CLIENTS} clients, {latency} ms each"
            row("rows", f"PostgreSQL, counters, {name}", loading.figures(processed), note=note)
