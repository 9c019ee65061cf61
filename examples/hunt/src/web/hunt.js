// Follows the changes of a page: the server sends its changing part as HTML, and this puts what differs into place.
"use strict";

const live = document.getElementById("live");
const following = document.getElementById("following");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
// Where each row stood when the page was opened.
const opened = new Map();

function say(text, state) {
  following.textContent = text;
  following.className = `pulse ${state}`;
}

// Makes `from` like `to`, and keeps what is the same: focus, and what is being typed.
function patch(from, to) {
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  for (const { name, value } of [...to.attributes]) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name)) from.removeAttribute(name);
  if (!from.matches("td.movement")) patchChildren(from, to);
}

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);
const isAlike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

function patchChildren(from, to) {
  const keyed = new Map([...from.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
  let place = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const key = keyOf(wanted);
    let known = key === undefined ? place : keyed.get(key);
    while (key === undefined && known && !isAlike(known, wanted)) known = known.nextSibling;
    if (known && isAlike(known, wanted)) {
      if (known === place) place = place.nextSibling;
      else from.insertBefore(known, place);
      patch(known, wanted);
    } else {
      from.insertBefore(document.importNode(wanted, true), place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

const rows = () => [...live.querySelectorAll("tr[data-position]")];

// How far each row moved since the page was opened.
function movements() {
  for (const row of rows()) {
    const position = Number(row.dataset.position);
    if (!opened.has(row.dataset.key)) opened.set(row.dataset.key, position);
    const moved = opened.get(row.dataset.key) - position;
    const shown = document.createElement("span");
    shown.className = moved > 0 ? "up" : "down";
    shown.textContent = moved ? `${moved > 0 ? "▲" : "▼"} ${Math.abs(moved)}` : "";
    row.querySelector("td.movement").replaceChildren(shown);
  }
}

// Rows that changed places glide there.
function glide(before) {
  if (calm.matches) return;
  for (const row of rows()) {
    const moved = (before.get(row) ?? row.offsetTop) - row.offsetTop;
    if (moved) row.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 500, easing: "ease-in-out" });
  }
}

function show(html) {
  const before = new Map(rows().map((row) => [row, row.offsetTop]));
  patchChildren(live, new DOMParser().parseFromString(html, "text/html").body);
  movements();
  glide(before);
}

// Pauses before a stream is opened again that the browser has given up: the first, and the longest.
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30000;

let source = null;
let waiting = null;
let pause = FIRST_PAUSE_MS;

function start() {
  clearTimeout(waiting);
  waiting = null;
  if (source || document.hidden) return;
  const opened = new EventSource(live.dataset.follow);
  source = opened;
  opened.onopen = () => {
    pause = FIRST_PAUSE_MS;
    say("Live", "live");
  };
  opened.onerror = () => {
    if (opened !== source) return;
    say("Connecting again", "");
    // A browser opens a stream again that broke off, but never one that was refused, as while the hunt is started again.
    if (opened.readyState === EventSource.CLOSED) {
      stop();
      // Not all browsers at the same moment.
      waiting = setTimeout(start, pause * (0.5 + Math.random() / 2));
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  };
  opened.addEventListener("page", (event) => show(event.data));
  opened.addEventListener("end", (event) => {
    stop();
    say(event.data, "");
  });
}

function stop() {
  clearTimeout(waiting);
  waiting = null;
  source?.close();
  source = null;
}

if (live.dataset.follow) {
  movements();
  start();
  // A page that nobody sees takes no stream.
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  // Also when the browser shows a page again that it had put aside.
  addEventListener("pageshow", start);
}
