"""What needs no Daybook: hashes, JSON, messages, and what a live update does to rows."""

import unittest
from datetime import datetime, timezone
from decimal import Decimal

from daybook_client import PublishError
from daybook_client.blake3 import hash_hex
from daybook_client.exact import dumps, loads
from daybook_client.live import LiveRows, read_update
from daybook_client.publishing import MAX_BATCH, Batch, read_ack, with_id

# Bytes 0, 1 … 250, 0, 1 … of each length, hashed by the BLAKE3 crate.
VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    31744: "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
}


class Hashes(unittest.TestCase):
    def test_known_inputs_have_known_hashes(self):
        for length, expected in VECTORS.items():
            self.assertEqual(hash_hex(bytes(number % 251 for number in range(length))), expected, length)


class Json(unittest.TestCase):
    def test_decimals_keep_all_digits(self):
        self.assertEqual(loads(b'{"a": 0.10}'), {"a": Decimal("0.10")})
        self.assertEqual(dumps({"a": Decimal("129.90")}), b'{"a":"129.90"}')
        self.assertEqual(dumps(datetime(2024, 3, 1, 12, tzinfo=timezone.utc)), b'"2024-03-01T12:00:00+00:00"')

    def test_what_is_not_exact_is_refused(self):
        for value in (float("nan"), Decimal("inf"), datetime(2024, 3, 1), object()):
            with self.assertRaises((TypeError, ValueError)):
                dumps(value)
        with self.assertRaises(ValueError):
            loads(b"[" * 1_000_000)


class Messages(unittest.TestCase):
    def test_a_batch_is_bounded_in_bytes_and_events(self):
        batch = Batch(limit=9)
        self.assertTrue(batch.add(b"{}", has_id=True))
        self.assertTrue(batch.add(b"{}", has_id=True))
        self.assertFalse(batch.add(b"{}", has_id=True))
        self.assertEqual(batch.payload(), b"[{},{}]")
        full = Batch(limit=1_000_000)
        self.assertTrue(all(full.add(b"1", has_id=True) for _ in range(MAX_BATCH)))
        self.assertFalse(full.add(b"1", has_id=True))

    def test_one_event_without_an_id_makes_a_message_that_is_not_repeated(self):
        batch = Batch(limit=100)
        batch.add(b"{}", has_id=True)
        self.assertTrue(batch.repeatable)
        batch.add(b"{}", has_id=False)
        self.assertFalse(batch.repeatable)

    def test_ids_are_stable_and_leave_those_of_the_events(self):
        self.assertEqual(with_id({"at": "x"}, "file", 3), {"at": "x", "id": "file/3"})
        self.assertEqual(with_id({"id": "own"}, "file", 3), {"id": "own"})
        self.assertEqual(with_id({}, None, 3), {})
        with self.assertRaises(PublishError):
            with_id("text", None, 0)

    def test_replies_of_the_broker(self):
        self.assertEqual(read_ack(b'{"stream": "DAYBOOK_INBOX", "seq": 7}'), 7)
        full = b'{"error": {"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}}'
        other = b'{"error": {"code": 400, "err_code": 10060, "description": "wrong"}}'
        codes = [read_ack(reply).code for reply in (full, other, b"", b"[]", b'{"seq": "7"}', b'{"seq": true}')]
        self.assertEqual(codes, ["inbox_full", "refused"] + ["unconfirmed"] * 4)


def answer(sequence, rows, feed="a"):
    return {"feed": {"feed": feed, "sequence": sequence}, "to": "2024-03-01", "as_of": {"inbox": 1}, "rows": rows}


def update(sequence, rows=(), removed=(), **more):
    message = {"feed": "a", "sequence": sequence, "date": "2024-03-01", "reset": False, "as_of": {"inbox": 2}}
    return {**message, "rows": list(rows), "removed": list(removed), **more}


class Live(unittest.TestCase):
    def setUp(self):
        self.live = LiveRows()
        self.live.define({"grain": "hour", "ranked": False, "dimensions": ["store"], "definition": 1})
        self.take(answer(4, [{"time": "t", "store": "east", "n": 1}]))

    def take(self, snapshot):
        return self.live.take(snapshot, snapshot["rows"])

    def test_the_next_message_applies_and_others_do_not(self):
        row = {"time": "t", "store": "west", "n": 2}
        for other in (update(4), update(6), update(5, feed="b")):
            self.assertIsNone(self.live.apply(other))
        change = self.live.apply(update(5, [row], [{"time": "t", "store": "east"}]))
        self.assertEqual((change.snapshot, change.rows, change.removed[0]["n"]), (False, [row], 1))
        self.assertEqual(self.live.rows, {("t", "west"): row})

    def test_a_gap_and_a_reset_need_a_snapshot(self):
        behind = [update(4), update(5), update(6), update(5, reset=True), update(4, reset=True), update(9, feed="b")]
        self.assertEqual([self.live.is_behind(each) for each in behind], [False, False, True, True, False, False])

    def test_another_day_voids_all_rows(self):
        change = self.live.apply(update(5, date="2024-03-02"))
        self.assertEqual((change.snapshot, self.live.rows, self.live.date), (True, {}, "2024-03-02"))

    def test_a_snapshot_counts_if_it_is_newer_or_of_another_feed(self):
        wanted = [self.live.wants(answer(*each)) for each in ((3, []), (4, []), (5, []), (0, [], "b"))]
        self.assertEqual(wanted, [False, False, True, True])
        change = self.take(answer(5, []))
        self.assertEqual((change.snapshot, self.live.rows), (True, {}))

    def test_a_ranking_has_its_first_rows_only(self):
        self.live.define({"grain": "day", "ranked": True, "dimensions": ["store"], "definition": 2})
        self.take(answer(1, [{"position": number, "store": str(number)} for number in range(1, 150)]))
        self.assertEqual((len(self.live.rows), max(self.live.rows)), (100, (100,)))

    def test_what_is_no_update_is_passed_over(self):
        self.assertEqual(read_update(dumps(update(5))), update(5))
        for other in (
            b"",
            b"[]",
            b"7",
            b"[" * 1_000_000,
            dumps(update("5")),
            dumps(update(5, [1])),
            dumps(update(5, as_of=1)),
        ):
            self.assertIsNone(read_update(other), other[:40])


if __name__ == "__main__":
    unittest.main()
