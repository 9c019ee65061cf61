"""Drives a whole Daybook with nats-py, bare and through the package in clients/python: python3 clients.py nats://HOST:PORT.
Every step asserts what docs/CLIENTS.md says.

The broker must hold a fresh Daybook. A shop, acme, has orders (with an id, corrected later) and clicks (append-only);
its days follow a clock that this script drives, and begin at midnight UTC.
"""

import asyncio
import json
import sys
from datetime import date
from decimal import Decimal

import nats
from nats.errors import NoRespondersError

import bare_nats as bare
from bare_nats import Refused, admin, ask, loads
from daybook_client import Daybook, DaybookError

FIRST_DAY, SECOND_DAY = "2024-03-01", "2024-03-02"
NOON = f"{FIRST_DAY}T12:00:00Z"
PAGES = 25

DEFINITIONS = {
    "kinds": [
        {
            "name": "order",
            "mode": "entity",
            "dimensions": [{"name": "store"}, {"name": "customer"}],
            "measures": [{"name": "total", "scale": 2}],
        },
        {"name": "click", "mode": "fact", "dimensions": [{"name": "page"}], "measures": [{"name": "ms"}]},
    ],
    "views": [
        {
            "name": "sales",
            "kind": "order",
            "group_by": ["store", "customer"],
            "metrics": [
                {"name": "orders", "value": "count"},
                {"name": "revenue", "value": "sum(total)"},
                {"name": "large", "value": "count", "where": "total >= 100"},
                {"name": "pending", "value": "count", "status": ["draft"]},
            ],
        },
        {
            "name": "leaders",
            "kind": "order",
            "group_by": ["customer"],
            "metrics": [{"name": "revenue", "value": "sum(total)"}],
            "ranking": {"by": [{"metric": "revenue"}]},
        },
        {
            "name": "pages",
            "kind": "click",
            "group_by": ["page"],
            "metrics": [{"name": "clicks", "value": "count"}, {"name": "ms", "value": "sum(ms)"}],
        },
    ],
    "tenants": [{"id": "acme", "zone": "Etc/UTC", "cutoff_minutes": 0, "first_day": FIRST_DAY, "clock": "shop"}],
}


def order(order_id, store, customer, total, **more):
    dims, measures = {"store": store, "customer": customer}, {"total": total}
    return {"id": order_id, "at": NOON, "dims": dims, "measures": measures, **more}


async def refused(question):
    """The error that a question is answered with."""
    try:
        answer = await question
    except (bare.AskError, DaybookError) as error:
        return error
    raise AssertionError(f"answered: {answer}")


async def next_json(subscription):
    message = await subscription.next_msg(timeout=30)
    return message.subject, loads(message.data)


async def services(nc):
    """Both services are NATS micro services."""
    inbox = nc.new_inbox()
    replies = await nc.subscribe(inbox)
    await nc.publish("$SRV.PING", b"", reply=inbox)
    names = {(await next_json(replies))[1]["name"] for _ in range(2)}
    assert names == {"daybook-query", "daybook-admin"}, names
    await replies.unsubscribe()
    info = await bare.service(nc, "INFO", "daybook-query")
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["daybook.query.*.*"], info
    info = await bare.service(nc, "INFO", "daybook-admin")
    commands = {endpoint["subject"].rsplit(".", 1)[1] for endpoint in info["endpoints"]}
    assert commands == {"apply", "catalogue", "clock", "close", "remove", "revoke", "views"}, commands
    stats = await bare.service(nc, "STATS", "daybook-query")
    assert stats["endpoints"][0]["num_requests"] == 0, stats


async def define(nc):
    """All or nothing, checked first, and repeatable."""
    mistaken = {**DEFINITIONS, "views": [{**DEFINITIONS["views"][0], "group_by": ["shop"]}]}
    refusals = (await admin(nc, "apply", mistaken))["refused"]
    assert refusals[0]["name"] == "sales" and "shop" in refusals[0]["reason"], refusals
    trial = (await admin(nc, "apply", {**DEFINITIONS, "dry_run": True}))["applied"]
    assert {line["action"] for line in trial} == {"created"}, trial
    assert (await admin(nc, "catalogue"))["kinds"] == []
    assert (await admin(nc, "apply", DEFINITIONS))["applied"] == trial
    again = (await admin(nc, "apply", DEFINITIONS))["applied"]
    assert {line["action"] for line in again} == {"unchanged"}, again
    catalogue = await admin(nc, "catalogue")
    assert ([kind["name"] for kind in catalogue["kinds"]], catalogue["tenants"]) == (["click", "order"], 1), catalogue
    try:
        await admin(nc, "apply", {"tenant": []})
        raise AssertionError("an unknown field was taken")
    except Refused as error:
        assert error.number == 400 and "tenant" in str(error), error


async def open_first_day(nc):
    """A named clock is driven; days broadcasts are plain messages."""
    days = await nc.subscribe("daybook.days.acme.>")
    clock = await admin(nc, "clock", {"clock": "shop", "advance_to": NOON})
    assert (clock["markers"], clock["now"], clock["next_due"]) == (1, NOON, f"{SECOND_DAY}T00:00:00Z"), clock
    subject, opened = await next_json(days)
    assert (subject, opened["edge"], opened["tenant"]) == ("daybook.days.acme.opened", "opened", "acme"), opened
    assert opened["day"] == {
        "date": FIRST_DAY,
        "opens_at": f"{FIRST_DAY}T00:00:00Z",
        "closes_at": f"{SECOND_DAY}T00:00:00Z",
    }, opened
    return days


async def publish_and_read_back(nc, js):
    """The PubAck's sequence, given as `at_least`, makes an answer rest on what was published."""
    await bare.publish(js, "acme", "order", order("o-1", "east", "ada", "129.90"))
    batch = [order("o-2", "east", "ben", "20.05"), order("o-3", "west", "ada", 30, status="draft")]
    await bare.publish(js, "acme", "order", batch)
    sequence = await bare.publish_msgpack(js, "acme", "order", [order("o-4", "west", "ben", "0.10")])
    answer = await Daybook(nc, "acme").ask("sales", at_least=sequence)
    assert answer["as_of"]["inbox"] >= sequence, answer
    assert answer["rows"] == [
        {"store": "east", "customer": "ada", "orders": 1, "revenue": Decimal("129.9"), "large": 1, "pending": 0},
        {"store": "east", "customer": "ben", "orders": 1, "revenue": Decimal("20.05"), "large": 0, "pending": 0},
        {"store": "west", "customer": "ada", "orders": 0, "revenue": 0, "large": 0, "pending": 1},
        {"store": "west", "customer": "ben", "orders": 1, "revenue": Decimal("0.1"), "large": 0, "pending": 0},
    ], answer
    envelope = {name: answer[name] for name in ("tenant", "view", "from", "to", "day", "total", "stale", "report")}
    assert envelope == {
        "tenant": "acme",
        "view": "sales",
        "from": FIRST_DAY,
        "to": FIRST_DAY,
        "day": "open",
        "total": 4,
        "stale": False,
        "report": None,
    }, answer
    assert answer["coverage"] == "complete" and answer["definition"] == 1 and "next" not in answer, answer
    early = await refused(ask(nc, "acme", "sales", at_least=sequence + 1_000))
    assert (early.code, early.number) == ("bad_request", 400), early


async def publish_twice(nc, js):
    """INBOX is shared by all tenants and remembers no Nats-Msg-Id; Daybook knows an event by its id and version, for as long
    as it keeps the day."""
    payload = json.dumps({"id": "c-0", "at": NOON, "dims": {"page": "p-00"}, "measures": {"ms": 1}}).encode()
    subject, headers = "daybook.in.acme.click", {"Nats-Msg-Id": "clicks-1"}
    first = await js.publish(subject, payload, headers=headers)
    second = await js.publish(subject, payload, headers=headers)
    assert not first.duplicate and not second.duplicate and second.seq > first.seq, (first, second)
    again = await bare.publish(js, "acme", "order", order("o-1", "east", "ada", "129.90"))
    answer = await Daybook(nc, "acme").ask("sales", at_least=again, dimensions=[], metrics=["orders"])
    assert answer["rows"] == [{"orders": 3}], answer
    days = (await ask(nc, "acme", "~days"))["days"]
    account = next(day["account"] for day in days if day["date"] == FIRST_DAY)
    assert account == {
        "published": 7,
        "counted": 4,
        "pending": 1,
        "duplicate": 2,
        "stale": 0,
        "carried": 0,
        "rejected": 0,
        "drafts": 1,
    }, account


async def ask_questions(nc, js):
    """Metrics, dimensions, a condition, days, order, pages."""
    clicks = [
        {"at": NOON, "dims": {"page": f"p-{number:02}"}, "measures": {"ms": number}}
        for number in range(PAGES)
        for _ in range(number % 5)
    ]
    sequence = await bare.publish(js, "acme", "click", clicks)

    rolled_up = await Daybook(nc, "acme").ask(
        "sales", at_least=sequence, dimensions=["store"], metrics=["revenue", "orders"]
    )
    assert rolled_up["rows"] == [
        {"store": "east", "revenue": Decimal("149.95"), "orders": 2},
        {"store": "west", "revenue": Decimal("0.1"), "orders": 1},
    ], rolled_up
    assert [list(row) for row in rolled_up["rows"]] == [["store", "revenue", "orders"]] * 2, "columns as asked"

    question = {
        "dimensions": ["store"],
        "metrics": ["revenue"],
        "where": "customer = 'ada' and store in ('east', 'north')",
    }
    answer = await ask(nc, "acme", "sales", **question)
    assert answer["rows"] == [{"store": "east", "revenue": Decimal("129.9")}], answer

    question = {"dimensions": [], "metrics": ["orders"], "days": f"{FIRST_DAY}..{SECOND_DAY}", "grain": "day"}
    answer = await ask(nc, "acme", "sales", **question)
    assert answer["rows"] == [{"day": FIRST_DAY, "orders": 3}], answer
    assert (answer["from"], answer["to"]) == (FIRST_DAY, SECOND_DAY), answer

    question = {"metrics": ["clicks"], "order": ["clicks desc", "page"], "limit": 4}
    first = await ask(nc, "acme", "pages", **question)
    assert [row["clicks"] for row in first["rows"]] == [4] * 4 and first["total"] == 21, first
    rows = [row async for row in Daybook(nc, "acme").rows("pages", **question)]
    assert rows[:4] == first["rows"] and len(rows) == 21, rows
    assert rows == sorted(rows, key=lambda row: (-row["clicks"], row["page"])), rows
    other = await refused(ask(nc, "acme", "pages", metrics=["clicks"], cursor=first["next"]))
    assert (other.code, other.field) == ("bad_request", "cursor"), other


async def ask_in_msgpack(nc):
    """The same question in MessagePack has the same answer, and mistakes are told in it too."""
    question = {"dimensions": ["store"], "metrics": ["revenue", "orders"], "where": "store = 'east'"}
    packed = await bare.ask_msgpack(nc, "acme", "sales", **question)
    answer = await ask(nc, "acme", "sales", **question)
    assert packed["rows"] == [{"store": "east", "revenue": "149.95", "orders": 2}], packed
    assert (packed["day"], packed["total"], packed["as_of"]) == ("open", 1, answer["as_of"]), packed
    assert date.fromordinal(date(1970, 1, 1).toordinal() + packed["from"]).isoformat() == answer["from"], packed
    error = await refused(bare.ask_msgpack(nc, "acme", "sales", metrics=["revenu"]))
    assert (error.code, error.number, error.field) == ("bad_request", 400, "metrics[0]"), vars(error)


async def ask_for_ranks(nc):
    """A view with a ranking is answered in its order; any view can be ranked, also around one member."""
    answer = await ask(nc, "acme", "leaders")
    assert answer["rows"] == [
        {"position": 1, "rank": 1, "customer": "ada", "revenue": Decimal("129.9")},
        {"position": 2, "rank": 2, "customer": "ben", "revenue": Decimal("20.15")},
    ], answer
    rank = {"by": [{"metric": "clicks"}], "ties": "dense", "member": ["p-03"], "around": 1}
    answer = await ask(nc, "acme", "pages", metrics=["clicks"], rank=rank)
    assert answer["rows"] == [
        {"position": 5, "rank": 1, "page": "p-24", "clicks": 4},
        {"position": 6, "rank": 2, "page": "p-03", "clicks": 3},
        {"position": 7, "rank": 2, "page": "p-08", "clicks": 3},
    ], answer
    error = await refused(ask(nc, "acme", "leaders", rank={"member": ["eve"]}))
    assert (error.code, error.number) == ("unknown_member", 404), error


async def make_mistakes(nc):
    """An error has a stable code, a number in a header, and says where and what to do."""
    error = await refused(ask(nc, "acme", "sales", metrics=["orders", "revenu"]))
    assert (error.code, error.number, error.field) == ("bad_request", 400, "metrics[1]"), error
    assert "revenue" in error.hint, error.hint
    error = await refused(ask(nc, "acme", "sales", where="store = 'east' and costumer = 'ada'"))
    assert (error.code, error.field, error.position) == ("bad_request", "where", 19), vars(error)
    assert "customer" in error.hint, error.hint
    for question, code in [
        ({"limit": 0}, "bad_request"),
        ({"limit": 10_001}, "bad_request"),
        ({"days": f"{SECOND_DAY}..{FIRST_DAY}"}, "bad_request"),
        ({"metrisc": ["orders"]}, "bad_request"),
        ({"days": "2020-01-01"}, "unknown_day"),
        ({"days": "season:spring"}, "unknown_season"),
    ]:
        error = await refused(ask(nc, "acme", "sales", **question))
        assert error.code == code and error.number == (400 if code == "bad_request" else 404), (question, vars(error))
    assert (await refused(ask(nc, "acme", "sails"))).code == "unknown_view"
    assert (await refused(ask(nc, "nobody", "sales"))).code == "unknown_tenant"
    reply = await nc.request("daybook.query.acme.sales", b"{", timeout=10)
    assert reply.headers["Nats-Service-Error-Code"] == "400" and reply.headers["Nats-Service-Error"], reply.headers
    try:
        await nc.request("daybook.query.acme", b"", timeout=10)
        raise AssertionError("a subject that nobody answers was answered")
    except NoRespondersError:
        pass


async def publish_rubbish(nc, js):
    """The PubAck says that a message is durable, not that it is sound. What is not counted is told on another subject."""
    acme = Daybook(nc, "acme")
    listening = await nc.subscribe("daybook.rejects.acme")
    none = await ask(nc, "acme", "~rejects")
    assert none["rejects"] == [] and "next" not in none, none
    good, bad = order("o-5", "west", "eve", "1.00"), order("o-6", "west", "eve", "1.001")
    sequence = await bare.publish(js, "acme", "order", [good, bad])
    _, told = await next_json(listening)
    (reject,) = told["rejects"]
    assert (reject["code"], reject["field"]) == ("too_many_digits", "measures.total"), reject
    assert (reject["inbox"], reject["index"], reject["date"]) == (sequence, 1, None), reject
    assert json.loads(reject["original"]["text"]) == bad and reject["reason"], reject
    await listening.unsubscribe()
    # What was broadcast can be asked for later, and what has come since then.
    assert [reject async for reject in acme.rejects()] == told["rejects"]
    (since,) = [page async for page in acme.rejects_since(none["newer"])]
    assert since["rejects"] == told["rejects"], since
    (nothing,) = [page async for page in acme.rejects_since(since["newer"])]
    assert nothing["rejects"] == [] and nothing["newer"] == since["newer"], nothing
    packed = await bare.ask_msgpack(nc, "acme", "~rejects", limit=1)
    assert packed["rejects"][0]["original"] == [json.dumps(bad).encode(), len(json.dumps(bad))], packed


async def follow_live(nc, js, sales, leaders):
    """A feed without a gap, equal to what a query says."""
    for number in range(20):
        customer = f"c-{number % 7}"
        await bare.publish(js, "acme", "order", order(f"live-{number}", "north", customer, number))
    # A version that is void takes an order back, and here the row with it.
    last = await bare.publish(js, "acme", "order", order("o-5", "west", "eve", "1.00", version=2, status="void"))
    for live, view in ((sales, "sales"), (leaders, "leaders")):
        while live.inbox < last:
            change = await live.__anext__()
            assert not change.snapshot, "nothing was missed"
        answer = await Daybook(nc, "acme").ask(view, at_least=last)
        assert sorted(map(str, live.rows.values())) == sorted(map(str, answer["rows"])), live.rows
    assert ("west", "eve") not in sales.rows and ("north", "c-0") in sales.rows, sales.rows


async def close_first_day(nc, days, reports, live):
    """The clock passes the cut-off: broadcasts, a sealed report, and a live view of the next day."""
    acme = Daybook(nc, "acme")
    error = await refused(acme.report(FIRST_DAY))
    assert (error.code, error.number, error.field) == ("unknown_day", 404, "date"), vars(error)
    assert [entry async for entry in acme.reports()] == []
    clock = await admin(nc, "clock", {"clock": "shop", "advance_to": f"{SECOND_DAY}T12:00:00Z"})
    assert clock["markers"] == 2, clock
    told = [await next_json(days) for _ in range(2)]
    edges = sorted((subject, marker["day"]["date"]) for subject, marker in told)
    assert edges == [("daybook.days.acme.closed", FIRST_DAY), ("daybook.days.acme.opened", SECOND_DAY)], edges
    while live.date != SECOND_DAY:
        await live.__anext__()
    assert live.rows == {}, live.rows
    told = await reports.next_msg(timeout=30)
    sealed = await acme.report(FIRST_DAY)
    # Byte for byte what was broadcast, so the hash is of both.
    assert (sealed.payload, sealed.hash) == (told.data, told.headers["Daybook-Hash"]), told
    report = loads(sealed.payload)
    assert (report["version"], report["supersedes"], report["changes"]) == (1, None, []), report
    assert report["day"]["closes_at"] == f"{SECOND_DAY}T00:00:00Z" and report["coverage"] == "complete", report
    account = report["dispositions"]
    assert account["published"] == sum(count for name, count in account.items() if name not in ("published", "drafts")), account


async def correct_closed_day(nc, js, reports):
    """What comes late makes a new version, which names the one that it takes the place of."""
    late = await bare.publish(js, "acme", "order", order("o-1", "east", "ada", "100.00", version=1))
    told = await reports.next_msg(timeout=30)
    acme = Daybook(nc, "acme")
    versions = [await acme.report(FIRST_DAY, version) for version in (1, 2)]
    first, second = (report.body for report in versions)
    hashes = [report.hash for report in versions]
    assert (versions[1].payload, hashes[1]) == (told.data, told.headers["Daybook-Hash"]), told
    assert all(len(bytes.fromhex(value)) == 32 for value in hashes) and hashes[0] != hashes[1], hashes
    assert second["version"] == 2 and second["supersedes"] == {"version": 1, "hash": hashes[0]}, second
    (change,) = second["changes"]
    assert (change["id"], change["inbox"], change["what"]) == ("o-1", late, "late final"), change
    assert await acme.report(FIRST_DAY) == versions[1]
    error = await refused(acme.report(FIRST_DAY, 3))
    assert (error.code, error.field) == ("unknown_day", "version"), vars(error)
    (entry,) = [entry async for entry in acme.reports()]
    expected = {name: second[name] for name in ("date", "version", "day", "dispositions", "coverage", "supersedes")}
    assert entry == {**expected, "hash": hashes[1], "bytes": len(told.data)}, entry

    def revenue(report):
        return sum(row["revenue"] for row in report["views"]["sales"]["rows"])

    assert revenue(first) - revenue(second) == Decimal("29.90"), (first, second)
    answer = await Daybook(nc, "acme").ask("sales", days=FIRST_DAY, at_least=late)
    assert (answer["day"], answer["report"], answer["rows"]) == ("closed", 2, second["views"]["sales"]["rows"]), answer
    days = [day async for day in acme.days()]
    assert [day["date"] for day in days][-2:] == [SECOND_DAY, FIRST_DAY], days
    standing = {day["date"]: (day["day"], day["report"]) for day in days}
    assert standing[FIRST_DAY] == ("closed", 2) and standing[SECOND_DAY] == ("open", None), days


async def list_views(nc):
    """Which views there are to ask for, with their columns."""
    views = (await ask(nc, "acme", "~views"))["views"]
    assert [view["name"] for view in views] == ["leaders", "pages", "sales"], views
    assert views[2] == {
        "name": "sales",
        "kind": "order",
        "grain": "day",
        "late": "restate",
        "ranked": False,
        "dimensions": ["store", "customer"],
        "metrics": ["orders", "revenue", "large", "pending"],
        "digits": [0, 2, 0, 0],
        "definition": 1,
    }, views


async def main(url):
    nc = await nats.connect(url)
    js = nc.jetstream()
    await services(nc)
    await define(nc)
    days = await open_first_day(nc)
    await publish_and_read_back(nc, js)
    await publish_twice(nc, js)
    await ask_questions(nc, js)
    await ask_in_msgpack(nc)
    await ask_for_ranks(nc)
    await make_mistakes(nc)
    await publish_rubbish(nc, js)
    acme = Daybook(nc, "acme")
    reports = await nc.subscribe("daybook.reports.acme.*")
    async with acme.follow("sales") as sales, acme.follow("leaders") as leaders:
        await follow_live(nc, js, sales, leaders)
        await close_first_day(nc, days, reports, sales)
    await correct_closed_day(nc, js, reports)
    await list_views(nc)
    stats = await bare.service(nc, "STATS", "daybook-query")
    assert stats["endpoints"][0]["num_requests"] > 20, stats
    await nc.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
