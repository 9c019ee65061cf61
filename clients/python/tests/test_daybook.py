"""Drives a whole Daybook with the package. DAYBOOK_URL names the broker; ../definitions.yaml must be in force there, on a
fresh Daybook that takes at most 16 messages of a tenant's kind into INBOX at once."""

import asyncio
import json
import os
import time
import unittest
from decimal import Decimal

import nats

from daybook_client import AskError, Daybook, DaybookError, PublishError, Report, ReportError

FIRST_DAY, SECOND_DAY = "2024-03-01", "2024-03-02"
NOON = f"{FIRST_DAY}T12:00:00Z"
LIMIT = 30  # seconds for what must happen
SOON = 8  # seconds; a live view that misses something notices before it renews its feed, which is after 10


def order(order_id, store, customer, total, **more):
    dims, measures = {"store": store, "customer": customer}, {"total": total}
    return {"id": order_id, "at": NOON, "dims": dims, "measures": measures, **more}


class WithDaybook(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # unittest turns it on; it reports every long callback
        self.nc = await nats.connect(os.environ["DAYBOOK_URL"], error_cb=self.note)
        self.addAsyncCleanup(self.nc.close)
        self.acme = Daybook(self.nc, "acme")
        await self.open_first_day(self.acme, "shop")

    async def note(self, error):
        """Takes what the connection reports, such as a cut: tests look at what comes of it."""

    async def admin(self, command, request):
        """Asks day-manager, as only an operator may."""
        reply = await self.nc.request(f"daybook.admin.{command}", json.dumps(request).encode(), timeout=LIMIT)
        self.assertNotIn("Nats-Service-Error-Code", reply.headers or {}, reply.headers)

    async def advance(self, clock, to):
        """Drives the clock of a shop."""
        await self.admin("clock", {"clock": clock, "advance_to": to})

    async def open_first_day(self, daybook, clock):
        """Opens the first day, and waits until the shard of the tenant knows of it."""
        await self.advance(clock, NOON)
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                return await daybook.ask("sales")
            except AskError as error:
                if not error.code.startswith("unknown_") or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)

    async def refusal(self, awaitable, error=AskError):
        with self.assertRaises(error) as caught:
            await awaitable
        return caught.exception


class Publishing(WithDaybook):
    async def test_what_is_published_is_read_back_exactly(self):
        await self.acme.publish("order", order("p-1", "read-back", "ada", Decimal("129.95")))
        last = await self.acme.publish_many(
            "order", [order("p-2", "read-back", "ben", "0.10"), order("p-3", "x", "y", 1)]
        )
        answer = await self.acme.ask("sales", where="store = 'read-back'", at_least=last)
        self.assertEqual(answer["rows"], [{"store": "read-back", "orders": 2, "revenue": Decimal("130.05")}])
        self.assertGreaterEqual(answer["as_of"]["inbox"], last)

    async def test_ids_count_a_repeated_source_once(self):
        clicks = [{"at": NOON, "dims": {"page": "once"}, "measures": {"ms": number}} for number in range(25_000)]
        for _ in range(2):
            last = await self.acme.publish_many("click", (click for click in clicks), ids="clicks.json")
        answer = await self.acme.ask("pages", where="page = 'once'", at_least=last)
        self.assertEqual(answer["rows"], [{"page": "once", "clicks": 25_000, "slowest": 24_999}])

    async def test_a_full_inbox_is_waited_for_and_loses_nothing(self):
        hasty = Daybook(self.nc, "acme", patience=0)
        refused = None
        for number in range(1_000):
            try:
                await hasty.publish("click", {"at": NOON, "id": f"hasty-{number}", "dims": {"page": "full"}})
            except PublishError as error:
                refused = error
                break
        self.assertIsNotNone(refused, "INBOX was never full")
        self.assertEqual((refused.code, refused.published), ("inbox_full", 0))
        self.assertIn("publish again", refused.hint)
        # A patient client publishes that event and more, faster than INBOX is emptied.
        for later in range(number, number + 50):
            last = await self.acme.publish("click", {"at": NOON, "id": f"hasty-{later}", "dims": {"page": "full"}})
        answer = await self.acme.ask("pages", metrics=["clicks"], where="page = 'full'", at_least=last)
        self.assertEqual(answer["rows"], [{"page": "full", "clicks": number + 50}])

    async def test_what_cannot_be_sent_is_refused_with_what_was_stored(self):
        small = [order(f"stored-{number}", "stored", "a" * 400, 1) for number in range(10)]
        huge = order("huge", "stored", "a" * 2_000_000, 1)
        error = await self.refusal(self.acme.publish_many("order", [*small, huge]), PublishError)
        self.assertEqual((error.code, error.published), ("too_large", 10))
        error = await self.refusal(self.acme.publish("order", {"at": object()}), PublishError)
        self.assertEqual((error.code, error.published), ("bad_event", 0))
        error = await self.refusal(self.acme.publish("order.x", small[0]), DaybookError)
        self.assertEqual((error.code, error.field), ("bad_name", "kind"))

    async def test_without_a_stream_nothing_is_confirmed(self):
        elsewhere = Daybook(self.nc, "acme", prefix="nothing", patience=0.1)
        error = await self.refusal(elsewhere.publish("order", order("o", "s", "c", 1)), PublishError)
        self.assertEqual(error.code, "no_responders")

    async def test_an_unconfirmed_message_is_repeated_only_if_its_events_have_ids(self):
        """A broken stream: it takes a message, and confirms it at the second try only."""
        tries = []

        async def confirm_late(message):
            tries.append(message.data)
            await message.respond(b'{"stream": "S", "seq": 5}' if len(tries) % 2 == 0 else b"nonsense")

        await self.nc.subscribe("broken.in.acme.click", cb=confirm_late)
        broken = Daybook(self.nc, "acme", prefix="broken")
        self.assertEqual(await broken.publish("click", {"id": "a", "at": NOON}), 5)
        self.assertEqual((len(tries), tries[0]), (2, tries[1]))
        error = await self.refusal(broken.publish("click", {"at": NOON}), PublishError)
        self.assertEqual((error.code, len(tries)), ("unconfirmed", 3))

    async def test_a_refusal_does_not_hide_that_an_earlier_try_may_be_stored(self):
        """A broken stream: its first confirmation is lost, and then it is full."""
        full = b'{"error": {"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}}'
        replies = [b"nonsense"]

        async def refuse(message):
            await message.respond(replies.pop() if replies else full)

        await self.nc.subscribe("lost.in.acme.click", cb=refuse)
        lost = Daybook(self.nc, "acme", prefix="lost", patience=0.3)
        self.assertEqual(
            (await self.refusal(lost.publish("click", {"id": "a", "at": NOON}), PublishError)).code, "unconfirmed"
        )
        self.assertEqual(
            (await self.refusal(lost.publish("click", {"id": "a", "at": NOON}), PublishError)).code, "inbox_full"
        )


class Asking(WithDaybook):
    async def test_pages_have_every_row_once_in_order(self):
        clicks = [{"at": NOON, "dims": {"page": f"page-{number:03}"}, "measures": {"ms": 1}} for number in range(95)]
        last = await self.acme.publish_many("click", clicks, ids="pages")
        question = {"order": ["page desc"], "limit": 10, "where": "page > 'page-' and page < 'page-999'"}
        pages = [page async for page in self.acme.pages("pages", at_least=last, **question)]
        self.assertEqual([len(page["rows"]) for page in pages], [10] * 9 + [5])
        rows = [row["page"] async for row in self.acme.rows("pages", **question)]
        self.assertEqual(rows, [f"page-{number:03}" for number in reversed(range(95))])

    async def test_an_error_says_where_and_what_to_do(self):
        error = await self.refusal(self.acme.ask("sales", metrics=["orders", "revenu"]))
        self.assertEqual((error.code, error.number, error.field), ("bad_request", 400, "metrics[1]"))
        self.assertIn("revenue", error.hint)
        error = await self.refusal(self.acme.ask("sales", where="store = 'east' and costumer = 'ada'"))
        self.assertEqual((error.code, error.field, error.position), ("bad_request", "where", 19))
        error = await self.refusal(self.acme.ask("sails"))
        self.assertEqual((error.code, error.number), ("unknown_view", 404))
        error = await self.refusal(self.acme.ask("sales.x"), DaybookError)
        self.assertEqual((error.code, error.field), ("bad_name", "view"))

    async def test_patience_ends(self):
        brief = Daybook(self.nc, "acme", prefix="nothing", patience=0.2)
        begin = time.monotonic()
        self.assertEqual((await self.refusal(brief.ask("sales"))).code, "no_responders")
        self.assertLess(time.monotonic() - begin, LIMIT)

    async def test_views_days_and_rejects(self):
        views = {view["name"]: view["dimensions"] for view in await self.acme.views()}
        self.assertEqual(views, {"sales": ["store"], "hours": ["store"], "leaders": ["customer"], "pages": ["page"]})
        (before,) = [page async for page in self.acme.rejects_since()]
        for message in range(5):
            bad = [order(f"bad-{message}-{number}", "rejected", "eve", "1.001") for number in range(60)]
            last = await self.acme.publish_many("order", bad)
        await self.acme.ask("sales", at_least=last)
        pages, place = [], before["newer"]
        deadline = time.monotonic() + LIMIT
        # A reject with a span stands for several. They are written a moment after they are counted.
        while sum(reject.get("span", {}).get("events", 1) for page in pages for reject in page["rejects"]) < 300:
            self.assertLess(time.monotonic(), deadline, "not all rejects came")
            async for page in self.acme.rejects_since(place):
                pages, place = pages + [page], page["newer"]
        rejects = [reject for page in pages for reject in page["rejects"]]
        self.assertEqual({reject["field"] for reject in rejects}, {"measures.total"})
        self.assertEqual(rejects, sorted(rejects, key=lambda reject: (reject["inbox"], reject["index"])))
        self.assertEqual([reject async for reject in self.acme.rejects()][: len(rejects)], rejects[::-1])
        self.assertGreater(len(rejects), 100, "more than a page")
        days = [day async for day in self.acme.days()]
        self.assertEqual((days[-1]["date"], days[-1]["day"]), (FIRST_DAY, "open"))
        self.assertEqual([day async for day in self.acme.days(last="2024-02-01")], [])


class Following(WithDaybook):
    async def until(self, live, sequence):
        """The changes until the rows reflect a sequence, which must be soon."""
        changes, begin = [], time.monotonic()
        while live.inbox < sequence:
            changes.append(await asyncio.wait_for(live.__anext__(), LIMIT))
        self.assertLess(time.monotonic() - begin, SOON)
        return changes

    async def equals_answer(self, live, view, sequence, **question):
        answer = await self.acme.ask(view, at_least=sequence, **question)
        self.assertEqual({str(row) for row in live.rows.values()}, {str(row) for row in answer["rows"]})

    async def test_changes_arrive_and_equal_an_answer(self):
        async with self.acme.follow("sales") as sales, self.acme.follow("leaders") as leaders:
            async with self.acme.follow("hours") as hours:
                for number in range(20):
                    last = await self.acme.publish(
                        "order", order(f"live-{number}", f"live-{number % 3}", "liv", number)
                    )
                for live, view in ((sales, "sales"), (leaders, "leaders")):
                    changes = await self.until(live, last)
                    self.assertTrue(any(not change.snapshot for change in changes), changes)
                    await self.equals_answer(live, view, last)
                await self.until(hours, last)
                await self.equals_answer(hours, "hours", last, grain="hour")
                self.assertIn((NOON, "live-0"), hours.rows)
            gone = order("live-0", "live-0", "liv", 0, version=9, status="void")
            last = await self.acme.publish_many("order", [gone, order("live-1", "live-9", "liv", 1)])
            await self.until(sales, last)
            self.assertIn(("live-9",), sales.rows)

    async def test_a_lost_message_leads_to_a_snapshot(self):
        async with self.acme.follow("sales") as live:
            await self.acme.publish("order", order("gap-1", "gap", "gus", 1))
            # The message never reaches the view.
            lost = await live._subscription.next_msg(timeout=LIMIT)
            self.assertIn(b"gap", lost.data)
            last = await self.acme.publish("order", order("gap-2", "gap", "gus", 2))
            changes = await self.until(live, last)
            self.assertTrue(changes[0].snapshot, changes)
            self.assertEqual(live.rows[("gap",)], {"store": "gap", "orders": 2, "revenue": 3})
            await self.equals_answer(live, "sales", last)

    async def test_forged_messages_harm_nothing(self):
        async with self.acme.follow("sales") as live:
            feed = {"feed": live._state._feed, "date": FIRST_DAY, "rows": [], "removed": [], "as_of": {"inbox": 0}}
            for forged in (b"rubbish", b"{}", json.dumps({**feed, "sequence": 10**15, "reset": False}).encode()):
                await self.nc.publish("daybook.live.acme.sales", forged)
            last = await self.acme.publish("order", order("forged", "forged", "fay", 1))
            await self.until(live, last)
            await self.equals_answer(live, "sales", last)

    async def test_a_reconnect_leads_to_a_snapshot(self):
        other = await nats.connect(os.environ["DAYBOOK_URL"])
        self.addAsyncCleanup(other.close)
        async with self.acme.follow("sales") as live:
            self.nc._transport.close()
            last = await Daybook(other, "acme").publish("order", order("cut", "cut", "cid", 1))
            await self.until(live, last)
            self.assertIn(("cut",), live.rows)

    async def test_too_many_rows_are_refused(self):
        clicks = [{"at": NOON, "dims": {"page": f"many-{number}"}} for number in range(10_500)]
        last = await self.acme.publish_many("click", clicks, ids="many")
        await self.acme.ask("pages", at_least=last, limit=1)
        async with self.acme.follow("pages") as live:
            self.assertGreaterEqual(len(live.rows), 10_500)
            self.assertIn(("many-10499",), live.rows)
        error = await self.refusal(self.acme.follow("pages", max_rows=10_000).__aenter__())
        self.assertEqual(error.code, "too_many_rows")

    async def test_a_view_that_is_not_there(self):
        self.assertEqual((await self.refusal(self.acme.follow("sails").__aenter__())).code, "unknown_view")


    async def test_a_removal_is_heard_of_and_the_id_begins_afresh(self):
        tenant = {"id": "guest", "zone": "Etc/UTC", "cutoff_minutes": 0, "first_day": FIRST_DAY, "clock": "shop"}
        await self.admin("apply", {"tenants": [tenant]})
        guest = Daybook(self.nc, "guest", patience=LIMIT)
        await self.open_first_day(guest, "shop")
        last = await guest.publish("order", order("g-1", "east", "ada", "2.25"))
        self.assertNotIn("generation", await guest.ask("sales", at_least=last))
        async with guest.follow("sales") as live:
            await self.until(live, last)
            await self.admin("remove", {"target": {"tenant": {"id": "guest"}}})
            with self.assertRaises(AskError) as caught:
                while True:
                    await asyncio.wait_for(live.__anext__(), LIMIT)
            self.assertEqual(caught.exception.code, "unknown_tenant")
            await self.admin("apply", {"tenants": [tenant]})
            await self.open_first_day(guest, "shop")
            change = await asyncio.wait_for(live.__anext__(), LIMIT)
            self.assertEqual((change.snapshot, change.rows), (True, []))
        self.assertEqual((await guest.ask("sales"))["generation"], 1)


class Alerts(WithDaybook):
    """Every test has stores of its own: a group fires once on a day, and other tests fire alerts of the tenant, too."""

    async def newest(self):
        """The place behind all alerts until now."""
        (page,) = [page async for page in self.acme.alerts_since()]
        return page["newer"]

    def refund(self, store):
        return order(f"refund-{store}", store, "rob", "-3.20")

    def stores(self, alerts, of):
        return [alert["group"]["store"] for alert in alerts if alert["group"]["store"].startswith(of)]

    async def test_alerts_come_in_pages_from_a_place_on(self):
        place, expected = await self.newest(), [f"paged-{number:03}" for number in range(150)]
        last = await self.acme.publish_many("order", [self.refund(store) for store in expected])
        await self.acme.ask("sales", at_least=last)
        pages, deadline = [], time.monotonic() + LIMIT
        # They are written a moment after their groups are counted.
        while len(self.stores((alert for page in pages for alert in page["alerts"]), "paged-")) < len(expected):
            self.assertLess(time.monotonic(), deadline, "not all alerts came")
            async for page in self.acme.alerts_since(place):
                pages, place = pages + [page], page["newer"]
        alerts = [alert for page in pages for alert in page["alerts"]]
        self.assertEqual(sorted(self.stores(alerts, "paged-")), expected)
        self.assertGreater(sum(bool(page["alerts"]) for page in pages), 1, "more than a page")
        self.assertFalse(any("missed" in page for page in pages))
        first = alerts[0]
        self.assertEqual((first["alert"], first["view"], first["day"]), ("in_debt", "sales", FIRST_DAY))
        self.assertEqual(first["figures"], {"orders": 1, "revenue": Decimal("-3.20")})
        newest = [alert["id"] async for alert in self.acme.alerts()]
        self.assertEqual(newest[: len(alerts)], [alert["id"] for alert in reversed(alerts)])

    async def test_alerts_are_followed_and_none_is_missed_or_told_twice(self):
        seen, place = [], await self.newest()

        async def follow_until(feed, store):
            """Reads until the alert of a store has come; returns the seconds that this took."""
            begin = time.monotonic()
            while store not in seen:
                page = await asyncio.wait_for(feed.__anext__(), LIMIT)
                seen.extend(self.stores(page["alerts"], "followed-"))
            return time.monotonic() - begin

        await self.acme.publish("order", self.refund("followed-before"))
        async with self.acme.follow_alerts(place) as feed:
            await follow_until(feed, "followed-before")
            await self.acme.publish("order", self.refund("followed-live"))
            self.assertLess(await follow_until(feed, "followed-live"), SOON, "a message wakes the feed")
            place = feed.place
        await self.acme.publish("order", self.refund("followed-away"))
        async with self.acme.follow_alerts(place) as feed:
            await self.nc.publish("daybook.alerts.acme", b'{"alert": "forged"}')
            await follow_until(feed, "followed-away")
        self.assertEqual(seen, ["followed-before", "followed-live", "followed-away"])

    async def test_a_feed_asks_without_messages_too_and_an_error_ends_nothing(self):
        class Deaf:
            """A connection that hears no alerts, as one whose user may not subscribe."""

            def __getattr__(_, name):
                return getattr(self.nc, name)

            async def subscribe(_, subject, **more):
                return await self.nc.subscribe(f"nothing.{subject}", **more)

        place, deaf = await self.newest(), Daybook(Deaf(), "acme", patience=0)
        async with deaf.follow_alerts("no place") as feed:
            for _ in range(2):
                self.assertEqual((await self.refusal(feed.__anext__())).code, "bad_request")
        async with deaf.follow_alerts(place) as feed:
            waiting = asyncio.ensure_future(feed.__anext__())
            await asyncio.sleep(0.5)  # so that its first question is answered
            await self.acme.publish("order", self.refund("deaf"))
            seen = self.stores((await asyncio.wait_for(waiting, LIMIT))["alerts"], "")
            while "deaf" not in seen:
                seen += self.stores((await asyncio.wait_for(feed.__anext__(), LIMIT))["alerts"], "")


class Reports(WithDaybook):
    async def test_reports_have_their_hash_and_name_the_version_before(self):
        archive = Daybook(self.nc, "archive")
        await self.open_first_day(archive, "archive")
        self.assertEqual((await self.refusal(archive.report(FIRST_DAY))).field, "date")
        await archive.publish("order", order("r-1", "east", "ada", "2.25"))
        heard = await self.nc.subscribe("daybook.reports.archive.*")
        alerts = archive.follow_alerts()
        await alerts.__aenter__()
        self.addAsyncCleanup(alerts.close)
        async with archive.follow("sales") as live:
            await self.advance("archive", f"{SECOND_DAY}T12:00:00Z")
            while live.date != SECOND_DAY:
                change = await asyncio.wait_for(live.__anext__(), LIMIT)
            self.assertEqual((change.snapshot, live.rows), (True, {}))
        told = Report.from_message(await heard.next_msg(timeout=LIMIT))
        first = await archive.report(FIRST_DAY)
        self.assertEqual((first.payload, first.hash), (told.payload, told.hash))
        self.assertEqual(
            first.body["views"]["sales"]["rows"], [{"store": "east", "orders": 1, "revenue": Decimal("2.25")}]
        )
        await archive.publish("order", order("r-2", "east", "ben", "1.50"))  # late
        message = await heard.next_msg(timeout=LIMIT)
        second = await archive.report(FIRST_DAY, 2)
        self.assertEqual(second.body["supersedes"], {"version": 1, "hash": first.hash})
        self.assertEqual((await archive.report(FIRST_DAY, 1)).payload, first.payload)
        (entry,) = [entry async for entry in archive.reports(FIRST_DAY, FIRST_DAY)]
        self.assertEqual((entry["version"], entry["hash"], entry["bytes"]), (2, second.hash, len(second.payload)))
        told = []
        while len(told) < 2:
            told += (await asyncio.wait_for(alerts.__anext__(), LIMIT))["alerts"]
        self.assertEqual([alert["alert"] for alert in told], ["day_sealed", "report_restated"])
        self.assertEqual([alert["report"] for alert in told], [
            {"version": 1, "hash": first.hash}, {"version": 2, "hash": second.hash}
        ])
        # One changed digit is noticed.
        message.data = message.data.replace(b"3.75", b"9.75")
        with self.assertRaises(ReportError) as caught:
            Report.from_message(message)
        self.assertEqual(caught.exception.code, "hash_mismatch")


if __name__ == "__main__":
    unittest.main()
