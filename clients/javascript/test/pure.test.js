// What needs no Daybook: hashes, JSON, messages, and what a live update does to rows.
import assert from "node:assert/strict";
import { test } from "node:test";

import { hashHex } from "../src/blake3.js";
import { parse, write } from "../src/exact.js";
import { LiveRows, readUpdate } from "../src/live.js";
import { Batch, MAX_BATCH, readAck, withId } from "../src/publishing.js";

const bytes = (text) => new TextEncoder().encode(text);
const text = (payload) => new TextDecoder().decode(payload);

// Bytes 0, 1 … 250, 0, 1 … of each length, hashed by the BLAKE3 crate.
const VECTORS = {
  0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
  1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
  1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
  1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
  31744: "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
};

test("known inputs have known hashes", () => {
  for (const [length, expected] of Object.entries(VECTORS)) {
    assert.equal(hashHex(Uint8Array.from({ length: Number(length) }, (_, number) => number % 251)), expected, length);
  }
});

test("figures keep all digits, and other numbers stay numbers", () => {
  const answer =
    '{"total":1,"rows":[{"position":1,"store":"a \\" 1.50","revenue":12345678901234567890.10,"least":-1e-3,"none":null}]}';
  const [row] = [{ position: 1, store: 'a " 1.50', revenue: "12345678901234567890.10", least: "-1e-3", none: null }];
  assert.deepEqual(parse(bytes(answer), "text"), { total: 1, rows: [row] });
  assert.equal(parse(bytes(answer), "number").rows[0].least, -0.001);
  const report = '{"version":2,"views":{"sales":{"total":3,"rows":[{"n":0.10}]}}}';
  assert.deepEqual(parse(bytes(report), "text"), { version: 2, views: { sales: { total: 3, rows: [{ n: "0.10" }] } } });
  const alert = '{"alerts":[{"log":7,"group":{"time":null},"figures":{"revenue":-3.20}}]}';
  assert.deepEqual(parse(bytes(alert), "text").alerts, [
    { log: 7, group: { time: null }, figures: { revenue: "-3.20" } },
  ]);
  const named = '{"definitions":{"views":{"figures":3}},"views":{"figures":{"total":3,"rows":[{"n":1}]}}}';
  assert.deepEqual(parse(bytes(named), "text").definitions, { views: { figures: 3 } });
  assert.deepEqual(parse(bytes(named), "text").views.figures, { total: 3, rows: [{ n: "1" }] });
  for (const other of ["", "{", "[1.2.3]", "[01]"]) assert.throws(() => parse(bytes(other), "text"), other);
});

test("what is not exact is refused", () => {
  assert.equal(
    text(write({ version: 2n ** 60n, at: new Date(0) })),
    '{"version":"1152921504606846976","at":"1970-01-01T00:00:00.000Z"}',
  );
  for (const value of [NaN, { a: Infinity }, undefined]) assert.throws(() => write(value), TypeError);
});

test("a batch is bounded in bytes and events", () => {
  const batch = new Batch(7);
  assert.ok(batch.add(bytes("{}"), true) && batch.repeatable);
  assert.ok(!batch.add(bytes("{}"), true));
  assert.equal(text(batch.payload()), "[{}]");
  const full = new Batch(1_000_000);
  for (let number = 0; number < MAX_BATCH; number++) assert.ok(full.add(bytes("1"), number > 0));
  assert.ok(!full.add(bytes("1"), true) && !full.repeatable);
  assert.equal(JSON.parse(text(full.payload())).length, MAX_BATCH);
});

test("ids are stable and leave those of the events", () => {
  assert.deepEqual(withId({ at: "x" }, "file", 3), { at: "x", id: "file/3" });
  assert.deepEqual(withId({ at: "x", id: "own" }, "file", 3), { at: "x", id: "own" });
  assert.deepEqual(withId({ at: "x" }, undefined, 3), { at: "x" });
  for (const other of [null, "text", []]) assert.throws(() => withId(other, undefined, 0), { code: "bad_event" });
});

test("replies of the broker", () => {
  assert.equal(readAck(bytes('{"stream": "DAYBOOK_INBOX", "seq": 7}')), 7);
  const full = '{"error": {"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}}';
  const other = '{"error": {"code": 400, "err_code": 10060, "description": "wrong"}}';
  const codes = [full, other, "", "[]", "null", '{"seq": "7"}'].map((reply) => readAck(bytes(reply)).code);
  assert.deepEqual(codes, ["inbox_full", "refused", ...Array(4).fill("unconfirmed")]);
});

const answer = (sequence, rows, feed = "a") => ({
  feed: { feed, sequence },
  to: "2024-03-01",
  as_of: { inbox: 1 },
  rows,
});
const update = (sequence, more = {}) => ({
  ...{ feed: "a", sequence, date: "2024-03-01", reset: false, as_of: { inbox: 2 }, rows: [], removed: [] },
  ...more,
});

function liveRows() {
  const live = new LiveRows();
  live.define({ grain: "hour", ranked: false, dimensions: ["store"], definition: 1 });
  const first = answer(4, [{ time: "t", store: "east", n: "1" }]);
  live.take(first, first.rows);
  return live;
}

test("the next message applies and others do not", () => {
  const live = liveRows();
  const row = { time: "t", store: "west", n: "2" };
  for (const other of [update(4), update(6), update(5, { feed: "b" })]) assert.equal(live.apply(other), undefined);
  const change = live.apply(update(5, { rows: [row], removed: [{ time: "t", store: "east" }] }));
  assert.deepEqual(change, {
    snapshot: false,
    date: "2024-03-01",
    rows: [row],
    removed: [{ time: "t", store: "east", n: "1" }],
  });
  assert.deepEqual([...live.rows.values()], [row]);
});

test("a gap and a reset need a snapshot, another day voids all rows", () => {
  const live = liveRows();
  const messages = [
    update(4),
    update(5),
    update(6),
    update(5, { reset: true }),
    update(4, { reset: true }),
    update(9, { feed: "b" }),
  ];
  assert.deepEqual(
    messages.map((each) => live.isBehind(each)),
    [false, false, true, true, false, false],
  );
  const snapshots = [answer(3, []), answer(4, []), answer(5, []), answer(0, [], "b")];
  assert.deepEqual(
    snapshots.map((each) => live.wants(each)),
    [false, false, true, true],
  );
  assert.equal(live.apply(update(5, { date: "2024-03-02" })).snapshot, true);
  assert.deepEqual([live.rows.size, live.date], [0, "2024-03-02"]);
});

test("a ranking has its first rows only", () => {
  const live = liveRows();
  live.define({ grain: "day", ranked: true, dimensions: ["store"], definition: 2 });
  const first = answer(
    1,
    Array.from({ length: 150 }, (_, index) => ({ position: index + 1, store: String(index) })),
  );
  live.take(first, first.rows);
  assert.equal(live.rows.size, 100);
});

test("what is no update is passed over", () => {
  const read = (value) => readUpdate(bytes(typeof value === "string" ? value : JSON.stringify(value)), "text");
  assert.deepEqual(read(update(5)), update(5));
  const others = [
    "",
    "null",
    "[]",
    "[".repeat(1_000_000),
    update("5"),
    update(5, { rows: [1] }),
    update(5, { as_of: 1 }),
  ];
  for (const other of others) assert.equal(read(other), undefined, JSON.stringify(other).slice(0, 40));
});
