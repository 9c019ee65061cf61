/** `Daybook`, the client of one tenant over a connection of a NATS client. */
import { AlertFeed } from "./alerts.js";
import { AskError, PublishError } from "./errors.js";
import { checkedName, parse, write } from "./exact.js";
import { LiveView } from "./live.js";
import { Patience, reasonOf } from "./patience.js";
import { Batch, encoded, readAck, REPEAT, tooLarge, withId } from "./publishing.js";
import { Report } from "./report.js";

/**
 * @typedef {import("@nats-io/transport-node").NatsConnection} NatsConnection
 * @typedef {import("@nats-io/transport-node").Msg} Msg
 * @typedef {import("./types.js").Event} Event
 * @typedef {import("./types.js").Question} Question
 * @typedef {import("./types.js").Answer} Answer
 */

/** For one try; Daybook answers or refuses within 8 seconds. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Errors that go away by themselves. */
const ASK_AGAIN = new Set(["not_yet", "busy", "unavailable", "no_responders", "timeout"]);
const PUBLISH_AGAIN = new Set(["inbox_full", "no_responders", "unconfirmed"]);

/** What one tenant publishes and asks. */
export class Daybook {
  /**
   * @param {NatsConnection} nc a connection; it stays yours to close
   * @param {string} tenant
   * @param {object} [options]
   * @param {string} [options.prefix] the first token of subjects, `daybook` by default
   * @param {number} [options.patienceMs] how long a message or question is tried again, while Daybook is busy, away or
   *   full: 30,000 by default; 0 tries once. One try takes 10 seconds at most.
   * @param {"text" | "number"} [options.numbers] how figures are read. `text`, the default, keeps all digits; `number`
   *   gives binary floats, which hold about 15.
   */
  constructor(nc, tenant, { prefix = "daybook", patienceMs = 30_000, numbers = "text" } = {}) {
    this.nc = nc;
    this.tenant = checkedName("tenant", tenant);
    this.prefix = prefix;
    this.patienceMs = patienceMs;
    this.numbers = numbers;
  }

  /**
   * The subject for a kind (`in`) or a view (`query`, `live`) of the tenant.
   *
   * @param {"in" | "query" | "live"} what
   * @param {string} name
   */
  subject(what, name) {
    checkedName(what === "in" ? "kind" : "view", what === "query" ? name.replace(/^~/, "") : name);
    return `${this.prefix}.${what}.${this.tenant}.${name}`;
  }

  // Publishing

  /**
   * Publishes one event. Once this returns, the event is durable; figures or rejects show whether it counts.
   *
   * Returns its INBOX sequence, for `at_least`. Waits while INBOX is full. Without a confirmation it publishes again
   * only if the event has an id, because a repetition then counts once. Throws PublishError.
   *
   * @param {string} kind
   * @param {Event} event
   * @returns {Promise<number>}
   */
  async publish(kind, event) {
    return /** @type {number} */ (await this.publishMany(kind, [event]));
  }

  /**
   * Publishes events in order, in as few messages as they fit into, one message after the other.
   *
   * Event number n (from 0) that has no id gets the id `ids/n`. So the same events under the same `ids` count once,
   * however often a program publishes them; this suits facts. Give `ids` a name of the source, such as a file's.
   *
   * Returns the INBOX sequence of the last message, for `at_least`; undefined without events. Throws PublishError; its
   * `published` says how many events are stored for certain.
   *
   * @param {string} kind
   * @param {Iterable<Event> | AsyncIterable<Event>} events
   * @param {{ ids?: string }} [options]
   * @returns {Promise<number | undefined>}
   */
  async publishMany(kind, events, { ids } = {}) {
    const subject = this.subject("in", kind);
    const newBatch = () => new Batch(this.nc.info?.max_payload ?? Infinity);
    let [batch, number, published] = [newBatch(), 0, 0];
    /** @type {number | undefined} */
    let sequence;
    try {
      for await (const given of events) {
        const event = withId(given, ids, number);
        const [payload, hasId] = [encoded(event, number), (event.id ?? null) !== null];
        if (!batch.add(payload, hasId)) {
          if (batch.length) {
            sequence = await this.#send(subject, batch);
            [published, batch] = [number, newBatch()];
          }
          if (!batch.add(payload, hasId)) throw tooLarge(number, payload.length, batch.limit);
        }
        number++;
      }
      return batch.length ? await this.#send(subject, batch) : sequence;
    } catch (error) {
      if (error instanceof PublishError) error.published = published;
      throw error;
    }
  }

  /** Publishes a message until it is confirmed. */
  async #send(/** @type {string} */ subject, /** @type {Batch} */ batch) {
    const [patience, payload] = [new Patience(this.patienceMs), batch.payload()];
    let unconfirmed;
    for (;;) {
      const outcome = await this.#trySend(subject, payload);
      if (typeof outcome === "number") return outcome;
      if (outcome.code === "unconfirmed") unconfirmed = outcome;
      const mayRepeat = PUBLISH_AGAIN.has(outcome.code) && (batch.repeatable || !unconfirmed);
      // Once a try may have been stored, no later refusal says that nothing was.
      if (!mayRepeat || !(await patience.wait())) throw unconfirmed ?? outcome;
    }
  }

  async #trySend(/** @type {string} */ subject, /** @type {Uint8Array} */ payload) {
    try {
      return readAck((await this.nc.request(subject, payload, { timeout: REQUEST_TIMEOUT_MS })).data);
    } catch (error) {
      const reason = reasonOf(error);
      if (reason === "no_responders") {
        return new PublishError(reason, `no stream takes ${subject}`, { hint: "does Daybook run here?" });
      }
      if (reason !== "timeout") throw error;
      return new PublishError("unconfirmed", `no confirmation in ${REQUEST_TIMEOUT_MS} ms`, { hint: REPEAT });
    }
  }

  // Asking

  /**
   * Asks for the figures of a view, one page of them. Throws AskError.
   *
   * `at_least` waits until the figures reflect a sequence that `publish` returned.
   *
   * @param {string} view
   * @param {Question} [question]
   * @returns {Promise<Answer>}
   */
  async ask(view, question = {}) {
    return this.#ask(view, question);
  }

  /**
   * All pages of an answer. A row that keeps its place comes once, though figures may change in between.
   *
   * @param {string} view
   * @param {Question} [question]
   * @returns {AsyncGenerator<Answer, void>}
   */
  pages(view, question = {}) {
    return this.#pages(view, question);
  }

  /**
   * The rows of all pages, one after the other.
   *
   * @param {string} view
   * @param {Question} [question]
   */
  async *rows(view, question = {}) {
    for await (const page of this.pages(view, question)) yield* page.rows;
  }

  /**
   * Follows a view on the newest open day. Throws AskError, `too_many_rows` if the view has more rows than `maxRows`.
   *
   * @param {string} view
   * @param {{ maxRows?: number }} [options] 100,000 rows by default
   */
  async follow(view, { maxRows = 100_000 } = {}) {
    return LiveView.open(this, view, maxRows);
  }

  /**
   * The views that the tenant can ask for, with their columns.
   *
   * @returns {Promise<import("./types.js").View[]>}
   */
  async views() {
    return (await this.#ask("~views", {})).views;
  }

  // Days, reports, rejects, alerts

  /**
   * The business days, newest first, between two dates; both are included.
   *
   * @param {{ from?: string, to?: string }} [range]
   * @returns {AsyncGenerator<import("./types.js").Day, void>}
   */
  days({ from, to } = {}) {
    return this.#list("days", { from, to });
  }

  /**
   * The newest report of each day without its figures, newest day first.
   *
   * @param {{ from?: string, to?: string }} [range]
   * @returns {AsyncGenerator<import("./types.js").ReportEntry, void>}
   */
  reports({ from, to } = {}) {
    return this.#list("reports", { from, to });
  }

  /**
   * The events that were not counted, and why, newest first.
   *
   * @returns {AsyncGenerator<import("./types.js").Reject, void>}
   */
  rejects() {
    return this.#list("rejects", {});
  }

  /**
   * Pages of the rejects recorded after a place, oldest first, until there are no more.
   *
   * A place is the `newer` of a page: store the last one, and go on from there next time. Without a place there is one
   * page, of the newest rejects. `missed` in a page says that Daybook dropped rejects after the place.
   *
   * @param {string} [place]
   * @returns {AsyncGenerator<import("./types.js").RejectPage, void>}
   */
  async *rejectsSince(place) {
    for await (const page of this.#pages("~rejects", { cursor: place })) {
      yield page;
      if (place === undefined) return;
    }
  }

  /**
   * The alerts of the tenant's views and reports, newest first.
   *
   * @returns {AsyncGenerator<import("./types.js").Alert, void>}
   */
  alerts() {
    return this.#list("alerts", {});
  }

  /**
   * Pages of the alerts after a place, oldest first, until there are no more.
   *
   * A place is the `newer` of a page, as for `rejectsSince`, and so is `missed`. Without a place there is one page, of the
   * newest alerts.
   *
   * @param {string} [place]
   * @returns {AsyncGenerator<import("./types.js").AlertPage, void>}
   */
  async *alertsSince(place) {
    for await (const page of this.#pages("~alerts", { cursor: place })) {
      yield page;
      if (place === undefined) return;
    }
  }

  /**
   * Follows the alerts after a place, and those that come.
   *
   * A place is the `newer` of a page. Without one the first page has the newest alerts.
   *
   * @param {string} [place]
   */
  followAlerts(place) {
    return new AlertFeed(this, place);
  }

  /**
   * The sealed report of a day, the newest version by default. Throws AskError, or ReportError for a wrong hash.
   *
   * @param {string} date
   * @param {number} [version]
   */
  async report(date, version) {
    return Report.fromMessage(await this.#request("~report", { date, version }), this.numbers);
  }

  async *#list(/** @type {string} */ name, /** @type {object} */ question) {
    for await (const page of this.#pages(`~${name}`, question)) yield* page[name].reverse();
  }

  /** @returns {AsyncGenerator<any, void>} */
  async *#pages(/** @type {string} */ view, /** @type {object} */ question) {
    let page = await this.#ask(view, question);
    for (; page.next !== undefined; page = await this.#ask(view, { ...question, cursor: page.next })) yield page;
    yield page;
  }

  /** @returns {Promise<any>} */
  async #ask(/** @type {string} */ view, /** @type {object} */ question) {
    const reply = await this.#request(view, question);
    try {
      const answer = parse(reply.data, this.numbers);
      if (answer && typeof answer === "object") return answer;
    } catch {
      // The error below says it.
    }
    throw new AskError("unreadable", `the answer of ${view} is no object of JSON`);
  }

  /** The reply to a question. Asks again while Daybook is not ready. */
  async #request(/** @type {string} */ view, /** @type {object} */ question) {
    const [subject, body] = [this.subject("query", view), write(question)];
    const patience = new Patience(this.patienceMs);
    for (;;) {
      const outcome = await this.#tryRequest(subject, body);
      if (!(outcome instanceof AskError)) return outcome;
      if (!ASK_AGAIN.has(outcome.code) || !(await patience.wait())) throw outcome;
    }
  }

  async #tryRequest(/** @type {string} */ subject, /** @type {Uint8Array} */ body) {
    try {
      const reply = await this.nc.request(subject, body, { timeout: REQUEST_TIMEOUT_MS });
      return errorOf(reply) ?? reply;
    } catch (error) {
      const reason = reasonOf(error);
      if (reason === "no_responders") {
        return new AskError(reason, `nobody answers ${subject}`, { hint: "does a query service run?" });
      }
      if (reason !== "timeout") throw error;
      return new AskError(reason, `no reply in ${REQUEST_TIMEOUT_MS} ms`, {
        hint: "may this user ask for the tenant?",
      });
    }
  }
}

/** The error that a reply is, if it is one. */
function errorOf(/** @type {Msg} */ reply) {
  const number = reply.headers?.get("Nats-Service-Error-Code");
  if (!number) return undefined;
  try {
    const { code, message, hint, field, position } = parse(reply.data, "number");
    if (typeof code === "string") return new AskError(code, message, { number: Number(number), hint, field, position });
  } catch {
    // The error below has what the headers say.
  }
  return new AskError("unreadable", `error ${number}: ${reply.headers?.get("Nats-Service-Error")}`);
}
