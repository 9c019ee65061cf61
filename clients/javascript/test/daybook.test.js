// Drives a whole Daybook with the package. DAYBOOK_URL names the broker; ../../definitions.yaml must be in force there, on
// a fresh Daybook that takes at most 16 messages of a tenant's kind into INBOX at once.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { connect } from "@nats-io/transport-node";

import { AskError, Daybook, PublishError, Report, ReportError } from "../src/index.js";

const [FIRST_DAY, SECOND_DAY] = ["2024-03-01", "2024-03-02"];
const NOON = `${FIRST_DAY}T12:00:00Z`;
const LIMIT_MS = 30_000;
/** A live view that misses something notices before it renews its feed, which is after 10 seconds. */
const SOON_MS = 8_000;

let nc;
let acme;

/** A test that fails if it does not end. */
const check = (name, run) => test(name, { timeout: LIMIT_MS }, run);

const order = (id, store, customer, total, more = {}) => ({
  id,
  at: NOON,
  dims: { store, customer },
  measures: { total },
  ...more,
});
const click = (page, more = {}) => ({ at: NOON, dims: { page }, ...more });
const all = async (items) => {
  const list = [];
  for await (const item of items) list.push(item);
  return list;
};

/** Asks day-manager, as only an operator may. */
async function admin(command, request) {
  const reply = await nc.request(`daybook.admin.${command}`, JSON.stringify(request), { timeout: LIMIT_MS });
  assert.ok(!reply.headers?.get("Nats-Service-Error-Code"), reply.headers?.get("Nats-Service-Error"));
}

/** Drives the clock of a shop. */
const advance = (clock, to) => admin("clock", { clock, advance_to: to });

/** Opens the first day, and waits until the shard of the tenant knows of it. */
async function openFirstDay(daybook, clock) {
  await advance(clock, NOON);
  for (const begin = performance.now(); ; await new Promise((resolve) => setTimeout(resolve, 20))) {
    const error = await daybook.ask("sales").then(
      () => undefined,
      (refused) => refused,
    );
    if (!error) return;
    if (!error.code?.startsWith("unknown_") || performance.now() - begin > LIMIT_MS) throw error;
  }
}

before(async () => {
  assert.ok(process.env.DAYBOOK_URL, "DAYBOOK_URL names the broker of a Daybook");
  nc = await connect({ servers: process.env.DAYBOOK_URL });
  acme = new Daybook(nc, "acme");
  await openFirstDay(acme, "shop");
});

after(() => nc?.close());

check("what is published is read back exactly", async () => {
  await acme.publish("order", order("p-1", "read-back", "ada", "9999999999999129.95"));
  const last = await acme.publishMany("order", [order("p-2", "read-back", "ben", "0.10"), order("p-3", "x", "y", 1)]);
  const answer = await acme.ask("sales", { where: "store = 'read-back'", at_least: last });
  assert.deepEqual(answer.rows, [{ store: "read-back", orders: "2", revenue: answer.rows[0].revenue }]);
  assert.match(answer.rows[0].revenue, /^9999999999999130\.05$/);
  assert.ok(answer.as_of.inbox >= last);
  const floats = await new Daybook(nc, "acme", { numbers: "number" }).ask("sales", { where: "store = 'read-back'" });
  assert.equal(floats.rows[0].orders, 2);
});

check("ids count a repeated source once", async () => {
  function* clicks() {
    for (let ms = 0; ms < 25_000; ms++) yield click("once", { measures: { ms } });
  }
  await acme.publishMany("click", clicks(), { ids: "clicks.json" });
  const last = await acme.publishMany("click", clicks(), { ids: "clicks.json" });
  const answer = await acme.ask("pages", { where: "page = 'once'", at_least: last });
  assert.deepEqual(answer.rows, [{ page: "once", clicks: "25000", slowest: "24999" }]);
});

check("a full INBOX is waited for and loses nothing", async () => {
  const hasty = new Daybook(nc, "acme", { patienceMs: 0 });
  let [number, refused] = [0, undefined];
  for (; number < 1000 && !refused; number++) {
    await hasty.publish("click", click("full", { id: `hasty-${number}` })).catch((error) => (refused = error));
  }
  assert.ok(refused instanceof PublishError, `INBOX was never full: ${refused}`);
  assert.deepEqual([refused.code, refused.published], ["inbox_full", 0]);
  assert.match(refused.hint, /publish again/);
  // A patient client publishes the refused event and more, faster than INBOX is emptied.
  let last;
  for (let later = number - 1; later < number + 50; later++) {
    last = await acme.publish("click", click("full", { id: `hasty-${later}` }));
  }
  const answer = await acme.ask("pages", { metrics: ["clicks"], where: "page = 'full'", at_least: last });
  assert.deepEqual(answer.rows, [{ page: "full", clicks: String(number + 50) }]);
});

check("what cannot be sent is refused with what was stored", async () => {
  const small = Array.from({ length: 10 }, (_, number) => order(`stored-${number}`, "stored", "a".repeat(400), 1));
  const huge = order("huge", "stored", "a".repeat(2_000_000), 1);
  await assert.rejects(acme.publishMany("order", [...small, huge]), { code: "too_large", published: 10 });
  await assert.rejects(acme.publish("order", { at: NOON, measures: { total: NaN } }), {
    code: "bad_event",
    published: 0,
  });
  await assert.rejects(acme.publish("order.x", small[0]), { code: "bad_name", field: "kind" });
  const elsewhere = new Daybook(nc, "acme", { prefix: "nothing", patienceMs: 100 });
  await assert.rejects(elsewhere.publish("order", small[0]), { name: "PublishError", code: "no_responders" });
  await assert.rejects(elsewhere.ask("sales"), { name: "AskError", code: "no_responders" });
});

check("an unconfirmed message is repeated only if its events have ids", async () => {
  // A broken stream: it takes a message, and confirms it at the second try only.
  const tries = [];
  const callback = (_, message) => {
    tries.push(message.string());
    message.respond(tries.length % 2 === 0 ? '{"stream": "S", "seq": 5}' : "nonsense");
  };
  nc.subscribe("broken.in.acme.click", { callback });
  const broken = new Daybook(nc, "acme", { prefix: "broken" });
  assert.equal(await broken.publish("click", click("x", { id: "a" })), 5);
  assert.deepEqual([tries.length, tries[0]], [2, tries[1]]);
  await assert.rejects(broken.publish("click", click("x")), { code: "unconfirmed" });
  assert.equal(tries.length, 3);
});

check("a refusal does not hide that an earlier try may be stored", async () => {
  // A broken stream: its first confirmation is lost, and then it is full.
  const full = '{"error": {"code": 503, "err_code": 10077, "description": "maximum messages exceeded"}}';
  const replies = ["nonsense"];
  nc.subscribe("lost.in.acme.click", { callback: (_, message) => message.respond(replies.pop() ?? full) });
  const lost = new Daybook(nc, "acme", { prefix: "lost", patienceMs: 300 });
  await assert.rejects(lost.publish("click", click("x", { id: "a" })), { code: "unconfirmed" });
  await assert.rejects(lost.publish("click", click("x", { id: "a" })), { code: "inbox_full" });
});

check("pages have every row once in order", async () => {
  const names = Array.from({ length: 95 }, (_, number) => `page-${String(number).padStart(3, "0")}`);
  const last = await acme.publishMany(
    "click",
    names.map((name) => click(name)),
    { ids: "pages" },
  );
  const question = { order: ["page desc"], limit: 10, where: "page > 'page-' and page < 'page-999'" };
  const pages = await all(acme.pages("pages", { ...question, at_least: last }));
  assert.deepEqual(
    pages.map((page) => page.rows.length),
    [...Array(9).fill(10), 5],
  );
  const rows = await all(acme.rows("pages", question));
  assert.deepEqual(
    rows.map((row) => row.page),
    names.reverse(),
  );
});

check("an error says where and what to do", async () => {
  const error = await acme.ask("sales", { metrics: ["orders", "revenu"] }).catch((refused) => refused);
  assert.ok(error instanceof AskError, error);
  assert.deepEqual([error.code, error.number, error.field], ["bad_request", 400, "metrics[1]"]);
  assert.match(error.hint, /revenue/);
  const where = "store = 'east' and costumer = 'ada'";
  await assert.rejects(acme.ask("sales", { where }), { code: "bad_request", field: "where", position: 19 });
  await assert.rejects(acme.ask("sails"), { code: "unknown_view", number: 404 });
  await assert.rejects(acme.ask("sales.x"), { code: "bad_name", field: "view" });
  await assert.rejects(acme.follow("sails"), { code: "unknown_view" });
});

check("views, days and rejects", async () => {
  const views = await acme.views();
  assert.deepEqual(
    views.map(({ name }) => name),
    ["hours", "leaders", "pages", "sales"],
  );
  const [start] = await all(acme.rejectsSince());
  let last;
  for (let message = 0; message < 5; message++) {
    const bad = Array.from({ length: 60 }, (_, number) =>
      order(`bad-${message}-${number}`, "rejected", "eve", "1.001"),
    );
    last = await acme.publishMany("order", bad);
  }
  await acme.ask("sales", { at_least: last });
  const rejects = [];
  let place = start.newer;
  // A reject with a span stands for several. They are written a moment after they are counted.
  while (rejects.reduce((sum, { span }) => sum + (span?.events ?? 1), 0) < 300) {
    for await (const page of acme.rejectsSince(place)) {
      rejects.push(...page.rejects);
      place = page.newer;
    }
  }
  assert.deepEqual(new Set(rejects.map(({ field }) => field)), new Set(["measures.total"]));
  assert.ok(rejects.length > 100, "more than a page");
  assert.deepEqual((await all(acme.rejects())).slice(0, rejects.length), rejects.reverse());
  const days = await all(acme.days());
  assert.deepEqual([days.at(-1).date, days.at(-1).day], [FIRST_DAY, "open"]);
  assert.deepEqual(await all(acme.days({ to: "2024-02-01" })), []);
});

/** The changes until the rows of a live view reflect a sequence, which must be soon. */
async function until(live, sequence) {
  const begin = performance.now();
  const changes = [];
  while (live.inbox < sequence) changes.push((await live.next()).value);
  assert.ok(performance.now() - begin < SOON_MS, "something missed was noticed late");
  return changes;
}

async function equalsAnswer(live, view, sequence, question = {}) {
  const answer = await acme.ask(view, { ...question, at_least: sequence });
  const sorted = (rows) => rows.map((row) => JSON.stringify(row)).sort();
  assert.deepEqual(sorted(live.rows), sorted(answer.rows));
}

check("live changes arrive and equal an answer", async () => {
  const [sales, leaders, hours] = await Promise.all(["sales", "leaders", "hours"].map((view) => acme.follow(view)));
  let last;
  for (let number = 0; number < 20; number++) {
    last = await acme.publish("order", order(`live-${number}`, `live-${number % 3}`, "liv", number));
  }
  for (const [live, view, question] of [
    [sales, "sales"],
    [leaders, "leaders"],
    [hours, "hours", { grain: "hour" }],
  ]) {
    const changes = await until(live, last);
    assert.ok(
      changes.some((change) => !change.snapshot),
      JSON.stringify(changes),
    );
    await equalsAnswer(live, view, last, question);
  }
  assert.ok(hours.row(NOON, "live-0"));
  const gone = order("live-0", "live-0", "liv", 0, { version: 9, status: "void" });
  last = await acme.publishMany("order", [gone, order("live-1", "live-9", "liv", 1)]);
  await until(sales, last);
  assert.equal(sales.row("live-9").orders, "1");
  for (const live of [sales, leaders, hours]) live.close();
  assert.deepEqual(await sales.next(), { done: true, value: undefined });
});

check("a lost message leads to a snapshot", async () => {
  // A connection that loses the first message of each live feed.
  let lost;
  const subscribe = (subject, { callback }) => {
    const lossy = (error, message) => (lost ? callback(error, message) : (lost = message.string()));
    return nc.subscribe(subject, { callback: lossy });
  };
  const lossy = new Proxy(nc, {
    get: (target, name) => (name === "subscribe" ? subscribe : (target[name]?.bind?.(target) ?? target[name])),
  });
  const live = await new Daybook(lossy, "acme").follow("sales");
  await acme.publish("order", order("gap-1", "gap", "gus", 1));
  while (!lost) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.match(lost, /gap/);
  const last = await acme.publish("order", order("gap-2", "gap", "gus", 2));
  const changes = await until(live, last);
  assert.ok(changes[0].snapshot, JSON.stringify(changes));
  assert.equal(live.row("gap").orders, "2");
  await equalsAnswer(live, "sales", last);
  live.close();
});

check("a subscription that ends is an error", async () => {
  // A connection that may not listen.
  const subscribe = (_, { callback }) => {
    setTimeout(() => callback(new Error("permissions violation")), 50);
    return { unsubscribe() {} };
  };
  const deaf = new Proxy(nc, {
    get: (target, name) => (name === "subscribe" ? subscribe : (target[name]?.bind?.(target) ?? target[name])),
  });
  const live = await new Daybook(deaf, "acme").follow("sales");
  await assert.rejects(live.next(), /permissions violation/);
  live.close();
});

check("forged messages harm nothing", async () => {
  const live = await acme.follow("sales");
  const { feed } = (await acme.ask("sales", { watch: true })).feed;
  const forged = {
    feed,
    sequence: 10 ** 15,
    date: FIRST_DAY,
    rows: [],
    removed: [],
    reset: false,
    as_of: { inbox: 0 },
  };
  for (const payload of ["rubbish", "{}", JSON.stringify(forged)]) nc.publish("daybook.live.acme.sales", payload);
  const last = await acme.publish("order", order("forged", "forged", "fay", 1));
  await until(live, last);
  await equalsAnswer(live, "sales", last);
  live.close();
});

check("a reconnect leads to a snapshot", async () => {
  const cut = await connect({ servers: process.env.DAYBOOK_URL, reconnectTimeWait: 500 });
  const live = await new Daybook(cut, "acme").follow("sales");
  await cut.reconnect();
  const last = await acme.publish("order", order("cut", "cut", "cid", 1));
  await until(live, last);
  assert.ok(live.row("cut"));
  live.close();
  await cut.close();
});

check("many rows are followed, and too many refused", async () => {
  function* clicks() {
    for (let number = 0; number < 10_500; number++) yield click(`many-${number}`);
  }
  const last = await acme.publishMany("click", clicks(), { ids: "many" });
  await acme.ask("pages", { at_least: last, limit: 1 });
  const live = await acme.follow("pages");
  assert.ok(live.rows.length >= 10_500 && live.row("many-10499"));
  live.close();
  await assert.rejects(acme.follow("pages", { maxRows: 10_000 }), { code: "too_many_rows" });
});

check("a removal is heard of and the id begins afresh", async () => {
  const tenant = { id: "visitor", zone: "Etc/UTC", cutoff_minutes: 0, first_day: FIRST_DAY, clock: "shop" };
  await admin("apply", { tenants: [tenant] });
  const visitor = new Daybook(nc, "visitor");
  await openFirstDay(visitor, "shop");
  const last = await visitor.publish("order", order("v-1", "east", "ada", "2.25"));
  assert.equal((await visitor.ask("sales", { at_least: last })).generation, undefined);
  const live = await visitor.follow("sales");
  await until(live, last);
  await admin("remove", { target: { tenant: { id: "visitor" } } });
  await assert.rejects(
    async () => {
      while (await live.next());
    },
    { code: "unknown_tenant" },
  );
  await admin("apply", { tenants: [tenant] });
  await openFirstDay(visitor, "shop");
  const { value: change } = await live.next();
  assert.deepEqual([change.snapshot, change.rows], [true, []]);
  live.close();
  assert.equal((await visitor.ask("sales")).generation, 1);
});

/** An order that fires the alert of its store, which happens once on a day. Other tests fire alerts of the tenant, too. */
const refund = (store) => order(`refund-${store}`, store, "rob", "-3.20");
const storesOf = (alerts, start) => alerts.map(({ group }) => group.store).filter((store) => store.startsWith(start));

check("alerts come in pages from a place on", async () => {
  const expected = Array.from({ length: 150 }, (_, number) => `paged-${String(number).padStart(3, "0")}`);
  let [{ newer: place }] = await all(acme.alertsSince());
  await acme.publishMany("order", expected.map(refund));
  const pages = [];
  const alerts = () => pages.flatMap((page) => page.alerts);
  while (storesOf(alerts(), "paged-").length < expected.length) {
    for await (const page of acme.alertsSince(place)) {
      pages.push(page);
      place = page.newer;
    }
  }
  assert.deepEqual(storesOf(alerts(), "paged-").sort(), expected);
  assert.ok(pages.filter((page) => page.alerts.length).length > 1, "more than a page");
  assert.ok(pages.every(({ missed }) => missed === undefined));
  const { alert, view, day, figures } = alerts()[0];
  assert.deepEqual([alert, view, day, figures], ["in_debt", "sales", FIRST_DAY, { orders: "1", revenue: "-3.20" }]);
  const ids = (list) => list.map(({ id }) => id);
  assert.deepEqual(ids(await all(acme.alerts())).slice(0, alerts().length), ids(alerts().reverse()));
});

check("alerts are followed, and none is missed or told twice", async () => {
  const seen = [];
  let [{ newer: place }] = await all(acme.alertsSince());
  /** Reads until the alert of a store has come; returns the milliseconds that this took. */
  const followUntil = async (feed, store) => {
    const begin = performance.now();
    while (!seen.includes(store)) seen.push(...storesOf((await feed.next()).value.alerts, "followed-"));
    return performance.now() - begin;
  };
  await acme.publish("order", refund("followed-before"));
  let feed = acme.followAlerts(place);
  await followUntil(feed, "followed-before");
  await acme.publish("order", refund("followed-live"));
  assert.ok((await followUntil(feed, "followed-live")) < SOON_MS, "a message wakes the feed");
  place = feed.place;
  feed.close();
  assert.deepEqual(await feed.next(), { done: true, value: undefined });
  await acme.publish("order", refund("followed-away"));
  feed = acme.followAlerts(place);
  nc.publish("daybook.alerts.acme", '{"alert": "forged"}');
  await followUntil(feed, "followed-away");
  const waits = feed.next();
  feed.close();
  assert.equal((await waits).done, true);
  assert.deepEqual(seen, ["followed-before", "followed-live", "followed-away"]);
});

check("a feed of alerts asks without messages too, and an error ends nothing", async () => {
  // A connection that hears no alerts.
  const subscribe = (subject, options) => nc.subscribe(`nothing.${subject}`, options);
  const deaf = new Proxy(nc, {
    get: (target, name) => (name === "subscribe" ? subscribe : (target[name]?.bind?.(target) ?? target[name])),
  });
  const [{ newer: place }] = await all(acme.alertsSince());
  const strange = new Daybook(deaf, "acme").followAlerts("no place");
  for (let tries = 0; tries < 2; tries++) await assert.rejects(strange.next(), { code: "bad_request" });
  strange.close();
  const feed = new Daybook(deaf, "acme").followAlerts(place);
  const waits = feed.next();
  await new Promise((resolve) => setTimeout(resolve, 500)); // so that its first question is answered
  await acme.publish("order", refund("deaf"));
  const seen = storesOf((await waits).value.alerts, "");
  while (!seen.includes("deaf")) seen.push(...storesOf((await feed.next()).value.alerts, ""));
  feed.close();
});

check("reports have their hash and name the version before", async () => {
  const archive = new Daybook(nc, "archive");
  await openFirstDay(archive, "archive");
  await assert.rejects(archive.report(FIRST_DAY), { code: "unknown_day", field: "date" });
  await archive.publish("order", order("r-1", "east", "ada", "2.25"));
  const heard = nc.subscribe("daybook.reports.archive.*")[Symbol.asyncIterator]();
  const alerts = archive.followAlerts();
  const live = await archive.follow("sales");
  await advance("archive", `${SECOND_DAY}T12:00:00Z`);
  while (live.date !== SECOND_DAY) await live.next();
  assert.deepEqual(live.rows, []);
  live.close();
  const told = Report.fromMessage((await heard.next()).value);
  const first = await archive.report(FIRST_DAY);
  assert.deepEqual([first.payload, first.hash], [told.payload, told.hash]);
  assert.deepEqual(first.body.views.sales.rows, [{ store: "east", orders: "1", revenue: "2.25" }]);
  await archive.publish("order", order("r-2", "east", "ben", "1.50")); // late
  const message = (await heard.next()).value;
  const second = await archive.report(FIRST_DAY, 2);
  assert.deepEqual(second.body.supersedes, { version: 1, hash: first.hash });
  assert.deepEqual((await archive.report(FIRST_DAY, 1)).payload, first.payload);
  const [entry] = await all(archive.reports({ from: FIRST_DAY, to: FIRST_DAY }));
  assert.deepEqual([entry.version, entry.hash, entry.bytes], [2, second.hash, second.payload.length]);
  const heardAlerts = [];
  while (heardAlerts.length < 2) heardAlerts.push(...(await alerts.next()).value.alerts);
  alerts.close();
  assert.deepEqual(
    heardAlerts.map(({ alert, report }) => [alert, report.version, report.hash]),
    [
      ["day_sealed", 1, first.hash],
      ["report_restated", 2, second.hash],
    ],
  );
  // One changed digit is noticed.
  const changed = new TextEncoder().encode(message.string().replace("3.75", "9.75"));
  assert.throws(
    () => Report.fromMessage({ data: changed, headers: message.headers }),
    (error) => {
      return error instanceof ReportError && error.code === "hash_mismatch";
    },
  );
});
