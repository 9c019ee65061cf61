/** Errors of Daybook. Errors of the connection itself are those of the NATS client. */

/**
 * Something that Daybook or this package refused.
 *
 * `code` is stable, `message` is for people. `hint` says what to do. `field` names the part of the question or event,
 * such as `metrics[1]`; `position` counts bytes from the start of that field. Each of these three may be undefined.
 */
export class DaybookError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ hint?: string, field?: string, position?: number, cause?: unknown }} [where]
   */
  constructor(code, message, { hint, field, position, cause } = {}) {
    super(`${code}: ${message}${hint ? ` (${hint})` : ""}`, { cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = hint;
    this.field = field;
    this.position = position;
  }
}

/**
 * A question has no answer. docs/CLIENTS.md lists the codes. This package adds four:
 *
 * - `no_responders`: no query service runs, or the account may not ask for this tenant;
 * - `timeout`: no reply came within 10 seconds;
 * - `unreadable`: the reply is not what Daybook sends;
 * - `too_many_rows`: a live view has more rows than `maxRows`.
 *
 * `number` is the error's number in the reply's header, such as 404; undefined for the four codes above.
 */
export class AskError extends DaybookError {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ number?: number, hint?: string, field?: string, position?: number }} [where]
   */
  constructor(code, message, where = {}) {
    super(code, message, where);
    this.number = where.number;
  }
}

/**
 * An event is not published, or nobody knows whether it is. The codes are:
 *
 * - `inbox_full`: the buffer had no room for as long as `patienceMs`. Nothing of the message was stored;
 * - `no_responders`: the broker has no Daybook, or the account may not publish. Nothing was stored;
 * - `unconfirmed`: no confirmation came. The message may be stored. `hint` says what to do;
 * - `too_large`: one event does not fit into a message. Nothing was sent of it, nor of any event after it;
 * - `bad_event`: an event is no object, or cannot be written as JSON;
 * - `refused`: the broker refused for another reason, which the message says.
 *
 * `published` counts the events of the call, from the first, that are stored for certain.
 */
export class PublishError extends DaybookError {
  published = 0;
}

/** A report is not what its hash says: code `hash_mismatch`. Do not use its figures; ask again, or tell the operator. */
export class ReportError extends DaybookError {}
