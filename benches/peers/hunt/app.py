"""A treasure hunt as it is often built: Flask under gunicorn, SQLite or PostgreSQL for what must last (stores.py), Redis for the
ranking, memcached for what players see of their team. It has the HTTP interface and the rules of examples/hunt, and is configured
as its makers advise: write-ahead log, indexes, short transactions, caches that end with what they show.

Environment: HUNT_RULES (a file of `hunt rules make`), HUNT_POSTGRESQL (how to connect) or HUNT_DB (a file of SQLite),
HUNT_ORGANISER, HUNT_REDIS and HUNT_MEMCACHED (ports).
"""

import hashlib
import json
import os
import re
import time

import redis
import yaml
from flask import Flask, jsonify, request
from pymemcache.client.base import PooledClient

from stores import store

RANKING_S = 1
STATE_S = 30
# Records of one answer to the organiser.
PAGE = 20_000

app = Flask(__name__)
rules = yaml.load(open(os.environ["HUNT_RULES"]), yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
challenges = {challenge["id"]: challenge for challenge in rules["challenges"]}
organiser = os.environ["HUNT_ORGANISER"]
cache = redis.Redis(port=int(os.environ["HUNT_REDIS"]))
memory = PooledClient(("127.0.0.1", int(os.environ["HUNT_MEMCACHED"])), max_pool_size=32)
lasting = store(os.environ)


def millis(moment):
    """A time of the rules: YAML reads it as one."""
    return int(moment.timestamp() * 1000)


start, end = millis(rules["start"]), millis(rules["end"])
limit = rules.get("attempts")


def normalised(text):
    return re.sub(r"[\W_]", "", text).lower()


def mac(text):
    return hashlib.sha256(f"{organiser}.{text}".encode()).hexdigest()[:24]


def refused(status, reason, **more):
    return jsonify(refused=reason, message=reason, **more), status


def is_organiser():
    return request.headers.get("Authorization") == f"Bearer {organiser}"


def player():
    """The team and id of whoever asks."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    _, team, who, signed = (token.split(".") + [""] * 4)[:4]
    return (team, who) if signed == mac(f"p.{team}.{who}") else None


def opens(challenge, solved):
    after = challenge.get("after", [])
    return sum(other in solved for other in after) >= challenge.get("of", len(after))


def worth(challenge, rank, at):
    points = challenge["points"]
    if decay := challenge.get("decay"):
        steps = rank if decay["each"] == "solver" else (at - start) // (int(decay["each"].rstrip("s")) * 1000)
        points = max(points - decay["by"] * steps, decay["to"])
    first = challenge["first"]
    return points + (first[rank] if rank < len(first) else 0)


def ask_total(db, team):
    query = """SELECT coalesce((SELECT sum(points) FROM solves WHERE team = ?), 0)
        - coalesce((SELECT sum(price) FROM hints WHERE team = ?), 0)"""
    return db.execute(query, (team, team))


def ask_solved(db, team):
    return db.execute("SELECT challenge FROM solves WHERE team = ?", (team,))


def names(found):
    return {row[0] for row in found.fetchall()}


def changed(team):
    """What is cached of the team ends."""
    memory.delete(f"state.{team}")


@app.get("/api/hunt")
def hunt():
    return jsonify(hunt=rules["hunt"], name=rules["name"], start=start, end=end)


@app.post("/api/organiser/teams")
def teams():
    if not is_organiser():
        return refused(401, "forbidden")
    asked = request.get_json(force=True)
    with lasting.writing() as db:
        for team in asked:
            db.execute("INSERT INTO teams VALUES (?, ?) ON CONFLICT DO NOTHING", (team["id"], team["name"]))
    return jsonify([{"id": team["id"], "code": f"{team['id']}.{mac('code.' + team['id'])}"} for team in asked])


@app.get("/api/organiser/records")
def records():
    """What counts, in the form of the log of examples/hunt, so that the same recomputation checks it: submissions in the order in
    which they count, and hints behind the last page."""
    if not is_organiser():
        return refused(401, "forbidden")
    query = "SELECT number, team, id, player, challenge, answer, at FROM submissions WHERE number > ? ORDER BY number LIMIT ?"
    fields = ("id", "player", "challenge", "answer", "at")
    with lasting.reading() as db:
        found = db.execute(query, (int(request.args.get("after", 0)), PAGE)).fetchall()
        made = [
            {"position": number, "team": team, "record": {"what": "submitted", **dict(zip(fields, values))}}
            for number, team, *values in found
        ]
        if len(found) == PAGE:
            return jsonify(records=made, next=found[-1][0])
        fields = ("player", "challenge", "number", "price", "at")
        for team, *values in db.execute("SELECT team, player, challenge, number, price, at FROM hints").fetchall():
            made.append({"position": 0, "team": team, "record": {"what": "hinted", **dict(zip(fields, values))}})
    return jsonify(records=made, next=None)


@app.post("/api/join")
def join():
    asked = request.get_json(force=True)
    team, _, code = asked["code"].rpartition(".")
    if code != mac(f"code.{team}"):
        return refused(401, "forbidden")
    who = mac(f"player.{team}.{asked['request']}")[:16]
    with lasting.writing() as db:
        db.execute("INSERT INTO players VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (who, team, asked["name"]))
    return jsonify(token=f"p.{team}.{who}." + mac(f"p.{team}.{who}"), team=team, player=who)


@app.post("/api/submit")
def submit():
    if not (known := player()):
        return refused(401, "forbidden")
    team, who = known
    asked = request.get_json(force=True)
    with lasting.writing(team) as db:
        answer = judge(db, team, who, asked)
    changed(team)
    return answer


def judge(db, team, who, asked):
    fields = "is_right, points, total, number, challenge, answer"
    found = db.execute(f"SELECT {fields} FROM submissions WHERE team = ? AND id = ?", (team, asked["id"]))
    solved, total = ask_solved(db, team), ask_total(db, team)
    # Behind the lock, so that a team's times are in the order of its submissions.
    found, solved, total = found.fetchone(), names(solved), total.fetchone()[0]
    now = int(time.time() * 1000)
    if found:
        if tuple(found[4:]) != (asked["challenge"], asked["answer"]):
            return refused(409, "other_content")
        return judged(solved, *found[:4])
    challenge = challenges.get(asked["challenge"])
    if now < start:
        return refused(409, "not_started")
    if now >= end:
        return refused(409, "over")
    if not challenge or not opens(challenge, solved):
        return refused(404, "not_open")
    if challenge["id"] in solved:
        return refused(409, "solved")
    if limit:
        query = "SELECT count(*) FROM submissions WHERE team = ? AND challenge = ? AND at > ?"
        since = now - int(limit["within"].rstrip("s")) * 1000
        if db.execute(query, (team, challenge["id"], since)).fetchone()[0] >= limit["count"]:
            return refused(429, "too_many_attempts")
    is_right, points = normalised(asked["answer"]) == normalised(challenge["answer"]["normalised"]), 0
    if is_right:
        # The challenge's row is the lock of who is next to solve it.
        query = "UPDATE challenges SET solvers = solvers + 1 WHERE id = ? RETURNING solvers"
        (place,) = db.execute(query, (challenge["id"],)).fetchone()
        points = worth(challenge, place - 1, now)
        db.execute("INSERT INTO solves VALUES (?, ?, ?, ?)", (team, challenge["id"], points, now))
        solved.add(challenge["id"])
        total += points
    row = (team, asked["id"], who, challenge["id"], asked["answer"], int(is_right), points, total, now)
    query = """INSERT INTO submissions (team, id, player, challenge, answer, is_right, points, total, at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number"""
    (number,) = db.execute(query, row).fetchone()
    return judged(solved, is_right, points, total, number)


def judged(solved, is_right, points, total, number):
    unsolved = [one["id"] for one in rules["challenges"] if opens(one, solved) and one["id"] not in solved]
    return jsonify(done="judged", is_right=bool(is_right), points=points, total=total, position=number, open=unsolved)


@app.post("/api/hint")
def hint():
    if not (known := player()):
        return refused(401, "forbidden")
    asked = request.get_json(force=True)
    found = challenges.get(asked["challenge"], {}).get("hints", [])
    if asked["number"] >= len(found):
        return refused(404, "unknown_hint")
    taken = found[asked["number"]]
    with lasting.writing(known[0]) as db:
        solved = names(ask_solved(db, known[0]))
        if asked["challenge"] not in solved and opens(challenges[asked["challenge"]], solved):
            row = (known[0], asked["challenge"], asked["number"], taken["price"], known[1], int(time.time() * 1000))
            db.execute("INSERT INTO hints VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
    changed(known[0])
    return jsonify(done="hinted", text=taken["text"], price=taken["price"])


@app.get("/api/state")
def state():
    if not (known := player()):
        return refused(401, "forbidden")
    if cached := memory.get(f"state.{known[0]}"):
        return app.response_class(cached, mimetype="application/json")
    with lasting.reading() as db:
        solved, total = ask_solved(db, known[0]), ask_total(db, known[0])
        solved, total = names(solved), total.fetchone()[0]
    shown = [
        {"id": one["id"], "text": one.get("text", ""), "points": one["points"], "is_solved": one["id"] in solved}
        for one in rules["challenges"]
        if opens(one, solved)
    ]
    if int(time.time() * 1000) < start:
        shown = []
    made = json.dumps({"team": known[0], "points": total, "challenges": shown, "around": ranked()[:7]})
    if shown:
        memory.set(f"state.{known[0]}", made, expire=STATE_S)
    return app.response_class(made, mimetype="application/json")


def ranked():
    if cached := cache.get("ranking"):
        return json.loads(cached)
    # Among teams with equal points, whoever reached them first ranks higher.
    query = """WITH changes AS (
            SELECT team, points, 1 AS solves, at FROM solves UNION ALL SELECT team, -price, 0, at FROM hints),
        running AS (SELECT team, at, sum(points) OVER (PARTITION BY team ORDER BY at) AS until,
            sum(points) OVER (PARTITION BY team) AS total, sum(solves) OVER (PARTITION BY team) AS solves FROM changes)
        SELECT team, total, solves, min(at) FROM running WHERE until = total GROUP BY team, total, solves ORDER BY total DESC, 4"""
    rows, rank, before = [], 0, None
    with lasting.reading() as db:
        for place, (team, points, solves, reached_at) in enumerate(db.execute(query).fetchall(), 1):
            if (points, reached_at) != before:
                rank, before = place, (points, reached_at)
            rows.append({"team": team, "points": int(points), "solves": int(solves), "position": place, "rank": rank})
    cache.set("ranking", json.dumps(rows), ex=RANKING_S)
    return rows


@app.get("/api/ranking")
def ranking():
    return jsonify(frozen=False, rows=ranked())


if __name__ == "__main__":
    lasting.prepare(challenges)
