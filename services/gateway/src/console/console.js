// Follows the changes of a page: the server sends its changing part as HTML, and this puts what differs into place.
"use strict";

const live = document.getElementById("live");
const following = document.getElementById("following");
const pause = document.getElementById("pause");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
// Where rows stood when the page was opened.
const opened = new Map();

function say(text, state) {
  if (following.textContent !== text) following.textContent = text;
  following.className = `pulse ${state}`;
}

// Makes `from` like `to`, and keeps what is the same: focus, scroll positions and open details stay.
function patch(from, to) {
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) {
      from.data = to.data;
      flash(from.parentElement);
    }
    return;
  }
  for (const { name, value } of [...to.attributes]) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes]) {
    const isOurs = name === "open" || (name === "hidden" && from.dataset.copy);
    if (!to.hasAttribute(name) && !isOurs) from.removeAttribute(name);
  }
  if (from.dataset.copy) from.hidden = false;
  patchChildren(from, to);
}

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined);
const isAlike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

// The next sibling that can become `wanted`. What stands between is not wanted, or comes later.
function alikeFrom(place, wanted) {
  while (place && !isAlike(place, wanted)) place = place.nextSibling;
  return place;
}

function patchChildren(from, to) {
  const keyed = new Map([...from.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
  let place = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const key = keyOf(wanted);
    const known = key === undefined ? alikeFrom(place, wanted) : keyed.get(key);
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

// Shows for a moment that a figure changed.
function flash(element) {
  const cell = element?.closest("td, dd, .figure");
  if (!cell || calm.matches || cell.matches(".fresh, .movement")) return;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--flash");
  cell.animate([{ backgroundColor: colour }, { backgroundColor: "transparent" }], { duration: 1200, easing: "ease-out" });
}

const rows = () => [...live.querySelectorAll("tr[data-key]")];

// Rows that changed places glide there.
function glide(before) {
  if (calm.matches) return;
  for (const row of rows()) {
    const moved = (before.get(row) ?? row.offsetTop) - row.offsetTop;
    if (moved) row.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 500, easing: "ease-in-out" });
  }
}

// How far each row of a ranking moved since the page was opened.
function movements() {
  for (const row of live.querySelectorAll("tr[data-position]")) {
    const position = Number(row.dataset.position);
    if (!opened.has(row.dataset.key)) opened.set(row.dataset.key, position);
    const moved = opened.get(row.dataset.key) - position;
    const cell = row.querySelector("td.movement");
    cell.replaceChildren();
    if (!moved) continue;
    const shown = document.createElement("span");
    shown.className = moved > 0 ? "up" : "down";
    const sign = document.createElement("span");
    sign.setAttribute("aria-hidden", "true");
    sign.textContent = `${moved > 0 ? "▲" : "▼"} ${Math.abs(moved)}`;
    const word = document.createElement("span");
    word.className = "hidden";
    word.textContent = `${moved > 0 ? "up" : "down"} ${Math.abs(moved)} since you opened the page`;
    shown.append(sign, word);
    cell.append(shown);
  }
}

function show(html) {
  const next = new DOMParser().parseFromString(html, "text/html").body;
  const before = new Map(rows().map((row) => [row, row.offsetTop]));
  patchChildren(live, next);
  movements();
  glide(before);
}

let source = null;

function start() {
  say("Connecting", "");
  source = new EventSource(live.dataset.follow);
  source.onopen = () => say("Live", "live");
  source.addEventListener("page", (event) => {
    say("Live", "live");
    show(event.data);
  });
  source.addEventListener("trouble", (event) => say(event.data, "trouble"));
  source.onerror = () => say(source.readyState === EventSource.CLOSED ? "Not live: load the page again" : "Connecting again", "trouble");
}

function stop() {
  source?.close();
  source = null;
}

if (live?.dataset.follow) {
  let isPaused = false;
  const resume = () => (isPaused || document.hidden ? stop() : source ?? start());
  movements();
  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    resume();
    if (isPaused) say("Paused", "");
  });
  // A page that nobody sees takes no stream.
  document.addEventListener("visibilitychange", resume);
  addEventListener("pagehide", stop);
  addEventListener("pageshow", resume);
  resume();
}

for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  const word = button.firstChild;
  word.data = "Copied";
  setTimeout(() => (word.data = "Copy"), 1500);
});
