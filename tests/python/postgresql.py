"""A real PostgreSQL with a shop that changes its orders in every way, while the relay of examples/postgresql is killed.

    postgresql.py NATS_URL EXAMPLE_FOLDER EXPECTED_FILE

Ends when everything is in the NATS stream, and writes what the tables add up to, as PostgreSQL itself computes it. Exit code 77 and a
line that says why when there is no PostgreSQL here.
"""

import asyncio
import json
import os
import pwd
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from glob import glob
from pathlib import Path

MISSING = 77
PATIENCE = 60
TRANSACTIONS = 600
MAX_PAYLOAD = 1 << 20  # of the test's broker, in bytes

SHOP = """
CREATE TABLE orders (
    shop text NOT NULL, id int NOT NULL, product text NOT NULL, total numeric(12, 2), placed_at timestamptz NOT NULL,
    PRIMARY KEY (shop, id)
) PARTITION BY LIST (shop);
CREATE TABLE orders_acme PARTITION OF orders FOR VALUES IN ('acme');
CREATE TABLE orders_others PARTITION OF orders DEFAULT;
CREATE TABLE returns (id int PRIMARY KEY, shop text NOT NULL, total numeric(12, 2), placed_at timestamptz NOT NULL);
INSERT INTO orders SELECT 'acme', n, 'tea', n / 100.0, '2024-03-01T10:00:00Z' FROM generate_series(1, 50) AS n;
INSERT INTO returns SELECT n, 'acme', 1, '2024-03-01T10:00:00Z' FROM generate_series(1, 20) AS n;
"""

EXPECTED = """
SELECT shop, product, count(*)::int, sum(total)::text FROM orders GROUP BY shop, product ORDER BY shop, product
"""


def missing(why):
    print(f"skipped: {why}")
    sys.exit(MISSING)


try:
    import nats
    import psycopg
except ImportError as error:
    missing(f"psycopg cannot be used: {error}; install libpq5")


sys.path.insert(0, sys.argv[2])
import relay  # noqa: E402


def program(name):
    found = shutil.which(name) or next(iter(sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)
    return found or missing(f"there is no {name}; install Debian's package postgresql")


@contextmanager
def server():
    initdb, postgres = program("initdb"), program("postgres")
    with tempfile.TemporaryDirectory(prefix="daybook-postgresql-") as folder:
        home, user = Path(folder), None
        if os.geteuid() == 0:
            # The server does not run as root; Debian's package makes this user.
            try:
                user = pwd.getpwnam("postgres").pw_name
            except KeyError:
                missing("there is no user postgres, and the server does not run as root")
            shutil.chown(home, user)
        data = home / "data"
        subprocess.run([initdb, "-D", data, "-U", "shop", "--auth=trust", "--encoding=UTF8", "--locale=C"],
                       check=True, user=user, cwd=home, stdout=subprocess.DEVNULL)  # fmt: skip
        with open(data / "postgresql.conf", "a") as settings:
            settings.write(f"listen_addresses = ''\nunix_socket_directories = '{home}'\nfsync = off\n")
        with open(home / "log", "wb") as log:
            process = subprocess.Popen([postgres, "-D", data], user=user, cwd=home, stdout=log, stderr=subprocess.STDOUT)
        try:
            source = f"host={home} user=shop dbname=postgres"
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    psycopg.connect(source).close()
                    break
                except psycopg.OperationalError:
                    assert process.poll() is None and time.monotonic() < deadline, (home / "log").read_text()[-500:]
                    time.sleep(0.1)
            yield source
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def change(connection, rng):
    """One transaction of the shop: some changes, of which a tenth is taken back."""
    with connection.transaction(force_rollback=rng.random() < 0.1):
        for _ in range(rng.randint(1, 4)):
            shop, number = rng.choice(["acme", "zeta"]), rng.randint(1, 80)
            product, total = rng.choice(["tea", "cup", "cake"]), rng.randint(0, 99_999)
            row = (shop, number, product, total)
            connection.execute(*rng.choice([
                ("INSERT INTO orders VALUES (%s, %s, %s, %s / 100.0, '2024-03-01T11:00:00Z') ON CONFLICT (shop, id) DO "
                 "UPDATE SET total = EXCLUDED.total, product = EXCLUDED.product", row),
                ("UPDATE orders SET total = total + 1.01 WHERE shop = %s AND id = %s", row[:2]),
                ("DELETE FROM orders WHERE shop = %s AND id = %s", row[:2]),
                # The order moves to the other shop, or gets another number.
                ("UPDATE orders SET shop = CASE shop WHEN 'acme' THEN 'zeta' ELSE 'acme' END WHERE shop = %s AND id = %s AND "
                 "NOT EXISTS (SELECT FROM orders AS other WHERE other.id = orders.id AND other.shop <> orders.shop)", row[:2]),
                ("UPDATE orders SET id = id + 1000 WHERE shop = %s AND id = %s AND NOT EXISTS (SELECT FROM orders AS other WHERE "
                 "other.id = orders.id + 1000 AND other.shop = orders.shop)", row[:2]),
            ]))  # fmt: skip


def insert_large(connection, number, length):
    """An order with a product of so many letters."""
    row = (number, length)
    connection.execute("INSERT INTO orders SELECT 'acme', %s, repeat('x', %s), 1, '2024-03-01T11:00:00Z'", row)


def message_bytes(connection):
    """What the relay publishes of an order with an empty product, in bytes."""
    with connection.transaction(force_rollback=True):
        insert_large(connection, 9999, 0)
        newest = relay.TAKE.replace("ORDER BY seq LIMIT %s", "ORDER BY seq DESC LIMIT 1")
        return len(connection.execute(newest).fetchone()[2].encode())


async def add_stream(url, **config):
    client = await nats.connect(url)
    await client.jetstream().add_stream(**config)
    await client.close()


def main():
    url, example, expected = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    rng = random.Random(5)
    with server() as source:
        connections = [psycopg.connect(source, autocommit=True) for _ in range(2)]
        connection = connections[0]
        connection.execute(SHOP)
        connection.execute((example / "outbox.sql").read_text())
        connection.execute("SELECT daybook.watch('orders', 'shop', 'id'), daybook.watch('returns', 'shop', 'id')")
        command = [sys.executable, "-B", example / "relay.py", "--postgres", source, "--nats", url]
        relays = [subprocess.Popen(command) for _ in range(2)]
        try:
            for number in range(TRANSACTIONS):
                change(rng.choice(connections), rng)
                if number % 60 == 59:
                    # As a crash would.
                    victim = rng.randrange(2)
                    relays[victim].kill()
                    relays[victim].wait()
                    relays[victim] = subprocess.Popen(command)
            connection.execute("TRUNCATE returns")
            insert_large(connection, 5000, 2_000_000)
            # Its payload alone would fit; the headers take some 40 bytes.
            insert_large(connection, 5001, MAX_PAYLOAD - 20 - message_bytes(connection))
            deadline = time.monotonic() + PATIENCE
            while connection.execute("SELECT count(*) FROM daybook.outbox WHERE failed IS NULL").fetchone()[0]:
                assert time.monotonic() < deadline, "the relay does not empty the outbox"
                time.sleep(0.05)
        finally:
            for running in relays:
                running.kill()
                running.wait()
        # A stream of the operator's takes less than the broker.
        asyncio.run(add_stream(url, name="SMALL", subjects=["small.>"], max_msg_size=1_000))
        insert_large(connection, 5002, 3_000)
        insert_large(connection, 5003, 30)
        subprocess.run([*command, "--once", "--stream", "SMALL", "--prefix", "small"], check=True, timeout=PATIENCE)
        left = connection.execute("SELECT after ->> 'id', failed FROM daybook.outbox ORDER BY seq").fetchall()
        large = [(number, "too large for NATS") for number in ("5000", "5001")]
        assert left == [*large, ("5002", "too large for the stream")], left
        connection.execute("DELETE FROM orders WHERE id >= 5000 AND length(product) > 10")
        rows = connection.execute(EXPECTED).fetchall()
        expected.write_text(json.dumps(rows))
        for open_connection in connections:
            open_connection.close()


main()
