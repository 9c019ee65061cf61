"""What must last, in SQLite or in PostgreSQL: the same tables and the same statements, each with the locks that suit it.

Statements are written with `?` for values. Whoever has several asks all of them before it fetches the first result: PostgreSQL then
needs one round trip for them. Times are milliseconds since 1970.
"""

import functools
import sqlite3
import threading
from contextlib import contextmanager

# `{number}` is the column that numbers submissions in the order in which they count.
TABLES = """
CREATE TABLE IF NOT EXISTS teams (id TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS players (id TEXT PRIMARY KEY, team TEXT NOT NULL, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS challenges (id TEXT PRIMARY KEY, solvers INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS submissions (
    {number}, team TEXT NOT NULL, id TEXT NOT NULL, player TEXT NOT NULL, challenge TEXT NOT NULL,
    answer TEXT NOT NULL, is_right INTEGER NOT NULL, points INTEGER NOT NULL, total INTEGER NOT NULL, at BIGINT NOT NULL,
    UNIQUE (team, id));
CREATE INDEX IF NOT EXISTS attempts ON submissions (team, challenge, at);
CREATE TABLE IF NOT EXISTS solves (
    team TEXT NOT NULL, challenge TEXT NOT NULL, points INTEGER NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (team, challenge));
CREATE TABLE IF NOT EXISTS hints (
    team TEXT NOT NULL, challenge TEXT NOT NULL, number INTEGER NOT NULL, price INTEGER NOT NULL,
    player TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (team, challenge, number));
"""
# Connections of one process to PostgreSQL: more than two for each core make none of them faster.
CONNECTIONS = 4


class Sqlite:
    """A file with a write-ahead log. It has one writer at a time, whatever the team."""

    def __init__(self, path):
        self.path = path
        # A connection belongs to the thread that made it.
        self.threads = threading.local()

    def connection(self):
        if not hasattr(self.threads, "connection"):
            made = sqlite3.connect(self.path, timeout=10, isolation_level=None)
            # A commit survives the end of the process; the disk is awaited when the log is checkpointed.
            made.execute("PRAGMA synchronous = NORMAL")
            self.threads.connection = made
        return self.threads.connection

    def prepare(self, challenges):
        with sqlite3.connect(self.path) as made:
            made.execute("PRAGMA journal_mode = WAL")
            made.executescript(TABLES.format(number="number INTEGER PRIMARY KEY"))
            made.executemany("INSERT INTO challenges VALUES (?, 0) ON CONFLICT DO NOTHING", [(one,) for one in challenges])

    @contextmanager
    def reading(self):
        yield self.connection()

    @contextmanager
    def writing(self, _team=None):
        """A transaction that is the only writer from the start: a reader that becomes one later may fail."""
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


@functools.cache
def translated(statement):
    return statement.replace("?", "%s")


class Statements:
    """A connection to PostgreSQL that takes the statements of this file."""

    def __init__(self, connection):
        self.connection = connection

    def execute(self, statement, values=()):
        return self.connection.execute(translated(statement), values)


class Postgresql:
    """A server with a pool of connections for each process. A team's row is the lock of what the team does."""

    def __init__(self, address):
        from psycopg_pool import ConnectionPool

        # Each statement is prepared when it is first used.
        options = {"autocommit": True, "prepare_threshold": 0}
        self.pool = ConnectionPool(address, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=options, open=True)

    def prepare(self, challenges):
        with self.pool.connection() as connection, connection.transaction():
            # Several statements in one cannot be prepared.
            tables = TABLES.format(number="number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
            connection.execute(tables, prepare=False)
            for one in challenges:
                connection.execute("INSERT INTO challenges VALUES (%s, 0) ON CONFLICT DO NOTHING", (one,))

    # In a pipeline, statements go out together when the first result is fetched.
    @contextmanager
    def reading(self):
        with self.pool.connection() as connection, connection.pipeline():
            yield Statements(connection)

    @contextmanager
    def writing(self, team=None):
        """A transaction. With a team, whoever else writes for this team waits until it ends."""
        with self.pool.connection() as connection, connection.pipeline(), connection.transaction():
            if team is not None:
                connection.execute("SELECT 1 FROM teams WHERE id = %s FOR NO KEY UPDATE", (team,))
            yield Statements(connection)


def store(environment):
    """The store that the environment names: HUNT_POSTGRESQL (how to connect), else HUNT_DB (a file of SQLite)."""
    address = environment.get("HUNT_POSTGRESQL")
    return Postgresql(address) if address else Sqlite(environment["HUNT_DB"])
