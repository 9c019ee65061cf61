/**
 * Follows a view live: `LiveRows` decides what a message means, `LiveView` asks, listens and asks again.
 *
 * docs/CLIENTS.md, "Live feeds", has the protocol. A gap, a reset or a reconnect leads to a new snapshot.
 */
import { AskError } from "./errors.js";
import { parse } from "./exact.js";
import { Sleep } from "./sleep.js";

/**
 * @typedef {import("./types.js").Row} Row
 * @typedef {import("./types.js").Answer} Answer
 *
 * @typedef {object} Change what a step has changed
 * @property {boolean} snapshot `rows` are all rows, and those before are void
 * @property {string} date
 * @property {Row[]} rows
 * @property {Row[]} removed
 */

/** A feed ends 30 seconds after the last request for it. */
const RENEW_AFTER_MS = 10_000;
/** A feed has the first rows of a ranking only. */
const MAX_RANKED_ROWS = 100;
/** Of messages that nobody has read yet; more are dropped, which is a gap. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** What a message takes besides its payload, about. */
const MESSAGE_BYTES = 256;
/** Snapshots for one message. Each takes what came until then, so more than one is rare. */
const MAX_SNAPSHOTS = 5;

/**
 * The message of a feed, or undefined for what is no such message. If it took the place of one, the next shows a gap.
 *
 * @param {Uint8Array} payload
 * @param {"text" | "number"} numbers
 */
export function readUpdate(payload, numbers) {
  try {
    const update = parse(payload, numbers);
    const { feed, sequence, date, reset, rows, removed, as_of: asOf } = update;
    const types = [typeof feed, typeof date, typeof reset].join();
    const areRows = [...rows, ...removed].every((row) => row !== null && typeof row === "object");
    const areNumbers = Number.isSafeInteger(sequence) && Number.isSafeInteger(asOf.inbox);
    return types === "string,string,boolean" && areRows && areNumbers ? update : undefined;
  } catch {
    return undefined;
  }
}

/** The rows of a view, and which message of which feed they reflect. */
export class LiveRows {
  /** @type {Map<string, Row>} */
  rows = new Map();
  /** @type {string | undefined} */
  date;
  inbox = 0;
  /** @type {number | undefined} */
  definition;
  ranked = false;
  /** @type {string | undefined} */
  feed;
  #sequence = 0;
  /** @type {string[]} */
  #key = [];

  /**
   * Says which columns tell rows apart.
   *
   * @param {import("./types.js").View} view
   */
  define({ grain, ranked, dimensions, definition }) {
    const time = grain === "day" ? [] : ["time"];
    this.ranked = ranked;
    this.#key = ranked ? ["position"] : [...time, ...dimensions];
    this.definition = definition;
    this.feed = undefined;
  }

  /** Whether a snapshot has something that the rows do not have yet. */
  wants(/** @type {Answer} */ { feed }) {
    return feed?.feed !== this.feed || Number(feed?.sequence) > this.#sequence;
  }

  /**
   * Replaces the rows by those of a snapshot.
   *
   * @param {Answer} answer
   * @param {Row[]} rows
   * @returns {Change}
   */
  take(answer, rows) {
    this.feed = answer.feed?.feed;
    this.#sequence = answer.feed?.sequence ?? 0;
    this.date = answer.to;
    this.inbox = answer.as_of.inbox;
    this.rows = new Map();
    this.#put(rows);
    return this.whole();
  }

  /** Whether only a snapshot can bring the rows to where this message is. */
  isBehind(/** @type {any} */ update) {
    if (update.feed !== this.feed || update.sequence <= this.#sequence) return false;
    return update.sequence !== this.#sequence + 1 || update.reset;
  }

  /**
   * Applies the next message. Returns undefined for a message of another feed or before the snapshot.
   *
   * @param {any} update
   * @returns {Change | undefined}
   */
  apply(update) {
    if (update.feed !== this.feed || update.sequence !== this.#sequence + 1) return undefined;
    const isNewDay = update.date !== this.date;
    if (isNewDay) this.rows = new Map();
    this.#sequence = update.sequence;
    this.date = update.date;
    this.inbox = update.as_of.inbox;
    const removed = update.removed.map((/** @type {Row} */ row) => this.#remove(row));
    this.#put(update.rows);
    return { snapshot: isNewDay, date: update.date, rows: update.rows, removed: isNewDay ? [] : removed };
  }

  /**
   * All rows as a change.
   *
   * @returns {Change}
   */
  whole() {
    return { snapshot: true, date: this.date ?? "", rows: [...this.rows.values()], removed: [] };
  }

  #remove(/** @type {Row} */ row) {
    const key = this.#keyOf(row);
    const known = this.rows.get(key) ?? row;
    this.rows.delete(key);
    return known;
  }

  #put(/** @type {Row[]} */ rows) {
    for (const row of rows) {
      if (!this.ranked || Number(row.position) <= MAX_RANKED_ROWS) this.rows.set(this.#keyOf(row), row);
    }
  }

  #keyOf(/** @type {Row} */ row) {
    return keyOf(this.#key.map((column) => row[column]));
  }
}

const keyOf = (/** @type {unknown[]} */ values) => JSON.stringify(values);

/**
 * The rows of a view, kept current while somebody iterates. Made by `Daybook.follow`; for one reader.
 *
 *     const live = await daybook.follow("sales");
 *     for await (const change of live) console.log(change.rows, change.removed);
 *     await live.close();
 *
 * An error of an iteration ends nothing: iterate again to go on. A reader that pauses for long finds a snapshot.
 */
export class LiveView {
  #daybook;
  #view;
  #maxRows;
  #state = new LiveRows();
  #grain = "day";
  #renewAt = 0;
  /** @type {Uint8Array[]} */
  #waiting = [];
  #waitingBytes = 0;
  #isReconnected = false;
  #isClosed = false;
  /** Why the subscription has ended, such as a missing permission. @type {unknown} */
  #failure;
  /** Waits for a message, a reconnect or the end. */
  #sleep = new Sleep();
  #subscription;
  #status;

  /**
   * @param {import("./client.js").Daybook} daybook
   * @param {string} view
   * @param {number} maxRows
   */
  static async open(daybook, view, maxRows) {
    const live = new LiveView(daybook, view, maxRows);
    try {
      await live.#renew();
      return live;
    } catch (error) {
      live.close();
      throw error;
    }
  }

  /**
   * Subscribes. Only then may the caller ask, so no change falls in between.
   *
   * @param {import("./client.js").Daybook} daybook
   * @param {string} view
   * @param {number} maxRows
   */
  constructor(daybook, view, maxRows) {
    this.#daybook = daybook;
    this.#view = view;
    this.#maxRows = maxRows;
    const callback = (/** @type {unknown} */ error, /** @type {{ data: Uint8Array }} */ message) => {
      if (error) this.#fail(error);
      else this.#keep(message.data);
    };
    this.#subscription = daybook.nc.subscribe(daybook.subject("live", view), { callback });
    this.#status = daybook.nc.status();
    this.#noteReconnects().catch((error) => this.#fail(error));
  }

  /** The rows, in no particular order. */
  get rows() {
    return [...this.#state.rows.values()];
  }

  /**
   * One row by its key: the values of the view's dimensions, after the time for a view by the hour or quarter of an
   * hour; in a ranking, the position.
   *
   * @param {...(string | number | null)} key
   */
  row(...key) {
    return this.#state.rows.get(keyOf(key));
  }

  /** The business day of the rows. */
  get date() {
    return this.#state.date;
  }

  /** The INBOX sequence that the rows reflect, to compare with what `publish` returned. */
  get inbox() {
    return this.#state.inbox;
  }

  /** Stops listening; an iteration that waits ends. The feed ends by itself. */
  close() {
    this.#isClosed = true;
    this.#subscription.unsubscribe();
    /** @type {any} */ (this.#status).stop?.();
    this.#sleep.wake();
  }

  /** @returns {AsyncIterator<Change>} */
  [Symbol.asyncIterator]() {
    return { next: () => this.next() };
  }

  /**
   * Waits for the next change. Throws AskError when Daybook does not answer for as long as `patienceMs`, and the error of
   * the NATS client when the subscription has ended, for want of a permission for example.
   *
   * @returns {Promise<IteratorResult<Change>>}
   */
  async next() {
    while (!this.#isClosed) {
      if (this.#failure) throw this.#failure;
      const value = await this.#step();
      if (value) return { done: false, value };
    }
    return { done: true, value: undefined };
  }

  /** Waits for a message, or until the feed is to be renewed. */
  async #step() {
    if (this.#isReconnected || performance.now() >= this.#renewAt) return this.#renew();
    if (!this.#waiting.length) await this.#sleep.upTo(this.#renewAt - performance.now());
    const payload = this.#waiting.shift();
    if (!payload) return undefined;
    this.#waitingBytes -= payload.length + MESSAGE_BYTES;
    const update = readUpdate(payload, this.#daybook.numbers);
    return update && this.#follow(update);
  }

  async #follow(/** @type {any} */ update) {
    let renewed;
    for (let tries = 0; tries < MAX_SNAPSHOTS && this.#state.isBehind(update); tries++) {
      renewed = (await this.#renew()) ?? renewed;
    }
    const applied = this.#state.isBehind(update) ? undefined : this.#state.apply(update);
    return renewed && applied ? this.#state.whole() : (renewed ?? applied);
  }

  /** Asks for the feed, which starts or prolongs it, and takes the answer if it has news. */
  async #renew() {
    this.#isReconnected = false;
    const answer = await this.#daybook.ask(this.#view, /** @type {object} */ ({ watch: true }));
    this.#renewAt = performance.now() + RENEW_AFTER_MS;
    if (answer.definition !== this.#state.definition) await this.#define();
    return this.#state.wants(answer) ? this.#state.take(answer, await this.#allRows(answer)) : undefined;
  }

  async #define() {
    const view = (await this.#daybook.views()).find(({ name }) => name === this.#view);
    if (!view) throw new AskError("unknown_view", `there is no view ${this.#view}`);
    this.#grain = view.grain;
    this.#state.define(view);
  }

  /** The rows of a snapshot. Those after its first page may be ahead of the feed, which catches up. */
  async #allRows(/** @type {Answer} */ answer) {
    const rows = [...answer.rows];
    const grain = this.#grain === "day" ? {} : { grain: this.#grain };
    for (let page = answer; page.next !== undefined && !this.#state.ranked;) {
      if (answer.total > this.#maxRows) {
        const message = `${this.#view} has ${answer.total} rows, more than ${this.#maxRows}`;
        throw new AskError("too_many_rows", message, { hint: "raise maxRows, or ask for fewer columns instead" });
      }
      page = await this.#daybook.ask(this.#view, /** @type {object} */ ({ cursor: page.next, ...grain }));
      for (const row of page.rows) rows.push(row);
    }
    return rows;
  }

  #fail(/** @type {unknown} */ error) {
    this.#failure = error;
    this.#sleep.wake();
  }

  #keep(/** @type {Uint8Array} */ payload) {
    if (this.#waitingBytes + payload.length + MESSAGE_BYTES > MAX_WAITING_BYTES) return;
    this.#waitingBytes += payload.length + MESSAGE_BYTES;
    this.#waiting.push(payload);
    this.#sleep.wake();
  }

  async #noteReconnects() {
    for await (const { type } of this.#status) {
      if (type !== "reconnect") continue;
      this.#isReconnected = true;
      this.#sleep.wake();
    }
  }
}
