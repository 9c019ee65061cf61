/** Turns events into messages, and the broker's reply into a sequence or an error. Nothing here talks to the broker. */
import { PublishError } from "./errors.js";
import { parse, write } from "./exact.js";

/** @typedef {import("./types.js").Event} Event */

const MAX_MESSAGE_BYTES = 1024 * 1024;
/** Events of one message. */
export const MAX_BATCH = 10_000;
/** The broker's code for a stream that has no room. */
const FULL = 10077;

/** Without a confirmation, a message may be stored or not. */
export const REPEAT = "publish it again if each of its events has an id; otherwise look at the figures first";

/** Encoded events that become one message of at most `limit` bytes. */
export class Batch {
  /** Whether each event has an id, so that sending it twice counts it once. */
  repeatable = true;
  /** @type {Uint8Array[]} */
  #events = [];
  #bytes = 2; // the brackets; each event adds itself and a comma

  /** @param {number} limit */
  constructor(limit) {
    this.limit = Math.min(limit, MAX_MESSAGE_BYTES);
  }

  get length() {
    return this.#events.length;
  }

  /**
   * Adds the event, or returns false when it belongs into the next message.
   *
   * @param {Uint8Array} event
   * @param {boolean} hasId
   */
  add(event, hasId) {
    if (this.#bytes + event.length + 1 > this.limit || this.length === MAX_BATCH) return false;
    this.#events.push(event);
    this.#bytes += event.length + 1;
    this.repeatable &&= hasId;
    return true;
  }

  /** The message; there must be an event in it. */
  payload() {
    const payload = new Uint8Array(this.#bytes - 1);
    let end = 0;
    for (const event of this.#events) {
      payload[end] = end === 0 ? 0x5b : 0x2c; // [ or a comma
      payload.set(event, end + 1);
      end += event.length + 1;
    }
    payload[end] = 0x5d; // ]
    return payload;
  }
}

/**
 * The event, with the id `name/number` if it has none and a name is given.
 *
 * @param {Event} event
 * @param {string | undefined} name
 * @param {number} number
 * @returns {Event}
 */
export function withId(event, name, number) {
  if (event === null || typeof event !== "object" || Array.isArray(event)) {
    throw new PublishError("bad_event", `event ${number} is ${event === null ? "null" : `no object`}`);
  }
  return name !== undefined && (event.id ?? null) === null ? { ...event, id: `${name}/${number}` } : event;
}

/**
 * The event in JSON. Throws PublishError if it has no exact form.
 *
 * @param {Event} event
 * @param {number} number
 */
export function encoded(event, number) {
  try {
    return write(event);
  } catch (error) {
    throw new PublishError("bad_event", `event ${number}: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
}

/**
 * @param {number} number
 * @param {number} size
 * @param {number} limit
 */
export function tooLarge(number, size, limit) {
  const message = `event ${number} takes ${size} bytes, and a message takes at most ${limit}`;
  return new PublishError("too_large", message, { hint: "an event may have 64 KiB" });
}

/**
 * The INBOX sequence out of a PubAck, or why the message is not stored.
 *
 * @param {Uint8Array} payload
 * @returns {number | PublishError}
 */
export function readAck(payload) {
  let ack;
  try {
    ack = parse(payload, "number");
  } catch {
    ack = undefined;
  }
  const error = ack?.error;
  if (!error && Number.isSafeInteger(ack?.seq)) return ack.seq;
  if (!error) return new PublishError("unconfirmed", "the reply is no confirmation of JetStream", { hint: REPEAT });
  if (error.err_code === FULL) {
    return new PublishError("inbox_full", String(error.description), {
      hint: "nothing was stored: publish again, more slowly",
    });
  }
  return new PublishError("refused", `${error.description} (${error.err_code})`);
}
