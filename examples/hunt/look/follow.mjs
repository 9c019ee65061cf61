// Runs hunt.js on a page and a clock of its own, and looks at when it opens streams. Usage: node follow.mjs hunt.js
import assert from "node:assert/strict";
import fs from "node:fs";
import vm from "node:vm";

const script = fs.readFileSync(process.argv[2], "utf8");

class EventSource {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;

  constructor(url) {
    this.url = url;
    this.readyState = EventSource.CONNECTING;
    this.hears = {};
    page.sources.push(this);
  }

  addEventListener(name, hear) {
    this.hears[name] = hear;
  }

  close() {
    this.readyState = EventSource.CLOSED;
  }

  // As a browser does: a stream that was refused is closed for good, one that broke off is opened again.
  fail(isForGood) {
    this.readyState = isForGood ? EventSource.CLOSED : EventSource.CONNECTING;
    this.onerror();
  }
}

let page;

// A page that follows a stream, with timers that run when they are told to.
function open() {
  page = { sources: [], timers: new Map(), next: 1, hears: {} };
  const live = { dataset: { follow: "/live/board" }, querySelectorAll: () => [] };
  const hear = (name, listener) => (page.hears[name] = listener);
  const document = { hidden: false, getElementById: (id) => (id === "live" ? live : page.following), addEventListener: hear };
  page.following = {};
  page.document = document;
  const setTimeout = (run, after) => (page.timers.set(page.next, { run, after }), page.next++);
  const clearTimeout = (timer) => page.timers.delete(timer);
  const matchMedia = () => ({ matches: true });
  vm.runInNewContext(script, { document, EventSource, setTimeout, clearTimeout, matchMedia, addEventListener: hear, Math, Map });
  return page;
}

const last = () => page.sources.at(-1);
const waiting = () => [...page.timers.values()];

function elapse() {
  const [[id, timer]] = page.timers;
  page.timers.delete(id);
  timer.run();
  return timer.after;
}

// A stream that broke off is the browser's to open.
open();
last().onopen();
assert.equal(page.following.textContent, "Live");
last().fail(false);
assert.deepEqual([page.sources.length, waiting().length], [1, 0]);

// One that was refused is opened again, after pauses that grow up to a bound, until it is there.
const pauses = [];
for (let tries = 0; tries < 8; tries++) {
  last().fail(true);
  assert.equal(waiting().length, 1);
  pauses.push(elapse());
  assert.equal(page.sources.length, tries + 2);
}
pauses.forEach((pause, tries) => {
  const most = Math.min(1000 * 2 ** tries, 30000);
  assert.ok(pause >= most / 2 && pause <= most, `${tries}: ${pause}`);
});
last().onopen();
last().fail(true);
assert.ok(elapse() <= 1000, "a stream that was open begins again with the first pause");

// A page that the browser put aside and shows again follows again, and has one stream only.
page.hears.pagehide();
assert.equal(last().readyState, EventSource.CLOSED);
const before = page.sources.length;
page.hears.pageshow();
page.hears.pageshow();
assert.equal(page.sources.length, before + 1);

// A page that is hidden while it waits takes no stream, and one when it is seen again.
last().fail(true);
page.document.hidden = true;
page.hears.visibilitychange();
assert.equal(waiting().length, 0);
page.document.hidden = false;
page.hears.visibilitychange();
assert.equal(page.sources.length, before + 2);

// What is over is over.
last().hears.end({ data: "there is no such team" });
assert.deepEqual([page.following.textContent, waiting().length], ["there is no such team", 0]);
