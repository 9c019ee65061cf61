/**
 * JSON without binary floats: figures are read as texts with all their digits, if `numbers` is `"text"`.
 *
 * A question can ask Daybook for texts, too. Live updates, reports and alerts have no such choice, so this reads all of
 * them alike.
 */
import { DaybookError } from "./errors.js";

/** What the names of tenants, kinds and views are made of. Anything else would change the subject of a message. */
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
/** A text or a number in JSON. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;
/** Where figures are, in answers, live updates, reports and alerts. */
const FIGURES = new Set(["rows", "adjustments", "figures"]);
/** Columns of rows that count places: they are small, and stay numbers. */
const PLACES = new Set(["position", "rank"]);
/** Objects whose fields are what somebody has named, which may be `rows` or `figures`. */
const NAMED = new Set(["kinds", "views"]);

const decoder = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

/**
 * Reads JSON. Throws a SyntaxError or TypeError when it is none.
 *
 * @param {Uint8Array} payload
 * @param {"text" | "number"} numbers how figures are read; `number` gives binary floats
 * @returns {any}
 */
export function parse(payload, numbers) {
  const text = decoder.decode(payload);
  const plain = JSON.parse(text);
  if (numbers === "number") return plain;
  const texts = JSON.parse(text.replace(TOKEN, (token) => (token[0] === '"' ? token : `"${token}"`)));
  return withTexts(plain, texts, false, false);
}

/**
 * The value, with the digits of each figure as they were written.
 *
 * @param {any} plain
 * @param {any} texts the same value, where each number is a text
 * @param {boolean} areFigures
 * @param {boolean} areNamed whether its fields are names
 * @returns {any}
 */
function withTexts(plain, texts, areFigures, areNamed) {
  if (typeof plain === "number") return areFigures ? texts : plain;
  if (plain === null || typeof plain !== "object") return plain;
  if (Array.isArray(plain)) return plain.map((item, index) => withTexts(item, texts[index], areFigures, false));
  /** @type {(name: string) => boolean} */
  const isFigure = (name) => (areFigures || (FIGURES.has(name) && !areNamed)) && !PLACES.has(name);
  return Object.fromEntries(
    Object.entries(plain).map(([name, value]) => [
      name,
      withTexts(value, texts[name], isFigure(name), NAMED.has(name) && !areNamed && !areFigures),
    ]),
  );
}

/**
 * Writes JSON. A BigInt is written as text. Throws a TypeError for what has no exact form in JSON.
 *
 * @param {unknown} value
 * @returns {Uint8Array}
 */
export function write(value) {
  const text = JSON.stringify(value, (name, item) => {
    if (typeof item === "bigint") return String(item);
    if (typeof item === "number" && !Number.isFinite(item))
      throw new TypeError(`${name} is ${item}, which JSON has not`);
    return item;
  });
  if (text === undefined) throw new TypeError(`a ${typeof value} cannot be written as JSON`);
  return encoder.encode(text);
}

/**
 * The name, if it can be one. Throws DaybookError `bad_name` otherwise.
 *
 * @param {string} what
 * @param {string} name
 */
export function checkedName(what, name) {
  if (typeof name === "string" && NAME.test(name)) return name;
  const hint = "1 to 64 of A-Z a-z 0-9 _ -";
  throw new DaybookError("bad_name", `${JSON.stringify(name)} is not the name of a ${what}`, { hint, field: what });
}
