"""Redis on the same work: counters, a script that upserts orders with sorted sets, and a ranking of a million members.

A private server on a temporary folder and a Unix socket; its log is synced every second, as its documentation advises.
Commands are encoded before the clock runs, and sent in pipelines.
"""

import random
import socket
import subprocess
import time
from collections import Counter
from contextlib import contextmanager

import hiredis

from measure import Load, Missing, await_end, folder, milliseconds, program, row, timed
from work import Work, equal

# Events of a pipeline.
PIPELINE = 1_000
# How long the server may take to start or to stop, in seconds.
PATIENCE = 60
MEMBERS, UPDATES, QUESTIONS = 1_000_000, 200_000, 2_000

# A new version takes the one before out of count, sum, customers, amounts and the order of stores, and puts itself in.
UPSERT = """
local order = 'o:' .. ARGV[1] .. ':' .. ARGV[2]
local known = redis.call('HMGET', order, 'version', 'status', 'day', 'store', 'customer', 'amount')
if known[1] and tonumber(known[1]) >= tonumber(ARGV[3]) then return 0 end
local function change(day, store, customer, amount, sign)
  local stores = ARGV[1] .. ':' .. day
  local group = stores .. ':' .. store
  redis.call('HINCRBY', 's:' .. group, 'orders', sign)
  redis.call('HINCRBY', 's:' .. group, 'amount', sign * amount)
  redis.call('ZINCRBY', 'b:' .. stores, sign * amount, store)
  if redis.call('HINCRBY', 'c:' .. group, customer, sign) == 0 then redis.call('HDEL', 'c:' .. group, customer) end
  if sign > 0 then redis.call('ZADD', 'v:' .. group, amount, ARGV[2]) else redis.call('ZREM', 'v:' .. group, ARGV[2]) end
end
if known[1] and known[2] == 'final' then change(known[3], known[4], known[5], known[6], -1) end
if ARGV[4] == 'final' then change(ARGV[5], ARGV[7], ARGV[8], ARGV[9], 1) end
redis.call('HSET', order, 'version', ARGV[3], 'status', ARGV[4], 'day', ARGV[5], 'store', ARGV[7],
  'customer', ARGV[8], 'amount', ARGV[9])
return 1
"""
# A tenant's day: of each store name, orders, amount, least, most, customers and p95 by nearest rank.
DAY = """
local rows = {}
for _, store in ipairs(redis.call('ZRANGE', 'b:' .. ARGV[1], 0, -1)) do
  local group = ARGV[1] .. ':' .. store
  local sums = redis.call('HMGET', 's:' .. group, 'orders', 'amount')
  local n = tonumber(sums[1])
  if n > 0 then
    local at = math.floor((n * 95 + 99) / 100) - 1
    local score = function(place) return tonumber(redis.call('ZRANGE', 'v:' .. group, place, place, 'WITHSCORES')[2]) end
    rows[#rows + 1] = {store, n, tonumber(sums[2]), score(0), score(-1), redis.call('HLEN', 'c:' .. group), score(at)}
  end
end
return rows
"""


class Client:
    def __init__(self, path: str):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.replies = hiredis.Reader()

    def send(self, encoded: bytes, count: int) -> list:
        """Sends commands and waits for their replies."""
        self.socket.sendall(encoded)
        replies = []
        while len(replies) < count:
            reply = self.replies.gets()
            if reply is False:
                self.replies.feed(self.socket.recv(1 << 20))
            elif isinstance(reply, Exception):
                raise reply
            else:
                replies.append(reply)
        return replies

    def ask(self, *command: str | bytes | int) -> object:
        return self.send(hiredis.pack_command(command), 1)[0]


@contextmanager
def server():
    binary = program("redis-server")
    with folder("redis") as home:
        path = str(home / "socket")
        command = [binary, "--port", "0", "--unixsocket", path, "--dir", str(home), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "everysec"]
        with open(home / "log", "wb") as log:
            process = subprocess.Popen(command, cwd=home, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    client = Client(path)
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise Missing(f"the server does not start: {(home / 'log').read_text()[-200:]}") from None
                    time.sleep(0.05)
            yield client, process.pid
        finally:
            process.terminate()
            await_end(process, PATIENCE)


def run(work: Work) -> None:
    for measure in (orders, q17, q15, ranking):
        with server() as (client, pid):
            measure(work, client, pid)


def load(client: Client, pid: int, events: list[list[tuple]]) -> dict[str, str]:
    """Each event's commands, in pipelines."""
    pipelines = []
    for at in range(0, len(events), PIPELINE):
        commands = [command for event in events[at : at + PIPELINE] for command in event]
        pipelines.append((b"".join(map(hiredis.pack_command, commands)), len(commands)))
    with Load(pid) as loading:
        for encoded, count in pipelines:
            client.send(encoded, count)
    return loading.figures(len(events))


def orders(work: Work, client: Client, pid: int) -> None:
    upsert, day = client.ask("SCRIPT", "LOAD", UPSERT), client.ask("SCRIPT", "LOAD", DAY)
    events = [[(b"EVALSHA", upsert, b"0", *line.rstrip().split(b","))] for line in work.lines("orders.csv")]
    figures = load(client, pid, events)
    del events
    # All tenants' days, by the keys of their stores in order.
    found: Counter[str] = Counter()
    for key in keys(client, "b:*"):
        for store in client.ask("EVALSHA", day, 0, key.removeprefix(b"b:")):
            found["groups"] += 1
            found.update(dict(zip(("orders", "amount", "least", "most", "customers", "p95"), store[1:])))
    work.check("orders", found)

    days, best = [], []
    for read in work.reads:
        key = f"{read['tenant']}:{read['day']}"
        took, stores = timed(lambda: client.ask("EVALSHA", day, 0, key))
        days.append(took)
        sums = (sum(store[1] for store in stores), sum(store[2] for store in stores))
        equal(key, sums, (int(read["orders"]), int(read["amount"])))
        took, _ = timed(lambda: client.ask("ZREVRANGE", f"b:{key}", 0, 9, "WITHSCORES"))
        best.append(took)
    figures |= milliseconds("tenant-day", days) | milliseconds("top ten", best)

    times = []
    for correction in work.corrections:
        *values, expected = correction.values()
        key = f"{correction['tenant']}:{correction['day']}"

        def once() -> int:
            client.ask("EVALSHA", upsert, 0, *values)
            return sum(store[2] for store in client.ask("EVALSHA", day, 0, key))

        took, amount = timed(once)
        times.append(took)
        equal(f"{key} after {correction['id']}", amount, int(expected))
    memory = client.ask("INFO", "memory").decode().split("used_memory_human:")[1].split()[0]
    note = f"a script an event, {memory} of memory, synced every second"
    row("orders", "Redis, script with counters and sorted sets, all figures", figures | milliseconds("correction", times), note=note)


def keys(client: Client, pattern: str) -> list[bytes]:
    found, cursor = set(), b"0"
    while True:
        cursor, some = client.ask("SCAN", cursor, "MATCH", pattern, "COUNT", 10_000)
        found.update(some)
        if cursor == b"0":
            return sorted(found)


def rank(price: bytes) -> bytes:
    return b"1" if int(price) < 10_000 else b"2" if int(price) < 1_000_000 else b"3"


def q17(work: Work, client: Client, pid: int) -> None:
    """Counters cannot keep the least and the largest."""
    events = []
    for line in work.lines("bids.csv"):
        day, _, auction, _, _, price = line.rstrip().split(b",")
        key = b"a:" + day + b":" + auction
        events.append([(b"HINCRBY", key, b"rank" + rank(price), b"1"), (b"HINCRBY", key, b"sum_price", price)])
    figures = load(client, pid, events)
    found: Counter[str] = Counter()
    for key in keys(client, "a:*"):
        fields = client.ask("HGETALL", key)
        values = dict(zip(fields[::2], map(int, fields[1::2])))
        found.update({"groups": 1, "sum_price": values.pop(b"sum_price"), "total_bids": sum(values.values())})
        found.update({f"{name.decode()}_bids": n for name, n in values.items()})
    work.check("q17", found, only=tuple(name for name in work.expected["q17"] if not name.startswith(("min", "max"))))
    row("bids", "Redis, counters, q17", figures, note="without min and max; synced every second")


def q15(work: Work, client: Client, pid: int) -> None:
    """Exact sets: PFADD would not be right."""
    events = []
    for line in work.lines("bids.csv"):
        day, _, auction, bidder, _, price = line.rstrip().split(b",")
        ranked = day + b":rank" + rank(price)
        commands = [(b"INCR", ranked + b"_bids")]
        for name, value in ((b"bidders", bidder), (b"auctions", auction)):
            commands.append((b"SADD", ranked + b"_" + name, value))
            commands.append((b"SADD", day + b":total_" + name, value))
        events.append(commands)
    figures = load(client, pid, events)
    found: dict[str, dict[str, int]] = {}
    for key in keys(client, "*:*"):
        day, name = key.decode().split(":")
        n = int(client.ask("GET" if name.endswith("bids") else "SCARD", key))
        of_day = found.setdefault(day, {"total_bids": 0})
        of_day[name] = n
        of_day["total_bids"] += n if name.endswith("bids") else 0
    equal("q15", found, work.expected["q15"])
    row("bids", "Redis, counters and sets, q15", figures, note="synced every second")


def ranking(_work: Work, client: Client, pid: int) -> None:
    """A sorted set of a million members: points added, the ten best, the place of one."""
    source = random.Random(42)
    points = {f"m{member}": source.randrange(1_000_000) for member in range(MEMBERS)}
    load(client, pid, [[("ZADD", "ranking", score, member)] for member, score in points.items()])
    updates = [(f"m{source.randrange(MEMBERS)}", source.randrange(1_000)) for _ in range(UPDATES)]
    figures = load(client, pid, [[("ZINCRBY", "ranking", more, member)] for member, more in updates])
    for member, more in updates:
        points[member] += more
    order = sorted(points.items(), key=lambda item: (item[1], item[0].encode()), reverse=True)
    places = {member: place for place, (member, _) in enumerate(order)}
    best, ranks = [], []
    for _ in range(QUESTIONS):
        took, found = timed(lambda: client.ask("ZREVRANGE", "ranking", 0, 9))
        best.append(took)
        equal("the ten best", [member.decode() for member in found], [member for member, _ in order[:10]])
        member = f"m{source.randrange(MEMBERS)}"
        took, place = timed(lambda: client.ask("ZREVRANK", "ranking", member))
        ranks.append(took)
        equal(member, place, places[member])
    figures |= milliseconds("top ten", best) | milliseconds("rank", ranks)
    row("rows", f"Redis, sorted set of {MEMBERS:,}, ZINCRBY, ZREVRANGE, ZREVRANK", figures, note="synced every second")
