"""A client in the account of its tenant, which has no JetStream: python3 tenant.py nats://USER:PASSWORD@HOST:PORT. The
account must import what docs/CLIENTS.md lists for acme; the test beside defines tenants, and closes the day when asked to.
"""

import asyncio
import sys

import nats
from nats.errors import TimeoutError as NatsTimeout

import bare_nats as bare
from bare_nats import ask, loads
from daybook_client import Daybook

DATE = "2024-03-01"


async def forbidden(errors, action):
    """The broker tells of a violation, and what was tried comes to nothing."""
    errors.clear()
    try:
        await action
        raise AssertionError("it was allowed")
    except NatsTimeout:
        assert any("permissions violation" in str(error).lower() for error in errors), errors


async def main(url):
    errors = []

    async def note(error):
        errors.append(error)

    nc = await nats.connect(url, error_cb=note)
    js = nc.jetstream(timeout=1)
    acme = Daybook(nc, "acme")
    days = await nc.subscribe("daybook.days.acme.*")
    reports = await nc.subscribe("daybook.reports.acme.*")
    rejects = await nc.subscribe("daybook.rejects.acme")
    order = {"id": "o-1", "at": f"{DATE}T12:00:00Z", "dims": {"channel": "web"}, "measures": {"amount": "2.50"}}
    async with acme.follow("orders") as live:
        sequence = await acme.publish_many("order", [order, {"id": "o-2"}])
        assert loads((await rejects.next_msg(timeout=30)).data)["rejects"][0]["field"] == "at"
        while live.inbox < sequence:
            await live.__anext__()
    answer = await acme.ask("orders", at_least=sequence)
    assert list(live.rows.values()) == answer["rows"] and answer["rows"][0]["orders"] == 1, answer
    (reject,) = [reject async for reject in acme.rejects()]
    assert (reject["inbox"], reject["field"]) == (sequence, "at"), reject
    (day,) = [day async for day in acme.days(last=DATE)]
    assert (day["day"], day["account"]["published"]) == ("open", 2), day
    views = (await ask(nc, "acme", "~views"))["views"]
    assert [(view["name"], view["metrics"]) for view in views] == [("orders", ["orders"])], views
    assert errors == [], errors

    await forbidden(errors, nc.request("daybook.query.other.orders", b"", timeout=1))
    await forbidden(errors, nc.request("daybook.query.other.~rejects", b"", timeout=1))
    await forbidden(errors, nc.request("$JS.API.INFO", b"", timeout=1))
    await forbidden(errors, nc.request("daybook.admin.catalogue", b"", timeout=1))
    await forbidden(errors, bare.publish(js, "other", "order", order))
    stored = "$JS.API.DIRECT.GET.DAYBOOK_REPORTS.daybook.reports.acme." + DATE
    await forbidden(errors, nc.request(stored, b"", timeout=1))
    others = await nc.subscribe("daybook.live.other.>")
    await forbidden(errors, others.next_msg(timeout=1))

    errors.clear()
    # The test waits for this one, and closes the day.
    await bare.publish(js, "acme", "order", {**order, "id": "o-3"})
    assert (await days.next_msg(timeout=30)).subject.startswith("daybook.days.acme.")
    told = await reports.next_msg(timeout=30)
    report = await acme.report(DATE)
    assert (report.payload, report.hash) == (told.data, told.headers["Daybook-Hash"]), report
    (entry,) = [entry async for entry in acme.reports()]
    assert (entry["date"], entry["hash"], entry["bytes"]) == (DATE, report.hash, len(report.payload)), entry
    assert errors == [], errors
    await nc.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
