/** Waits between tries: each wait is twice the one before, up to a second, less a random part of up to a half. */

const FIRST_WAIT_MS = 20;
const LONGEST_WAIT_MS = 1000;

/** How long to go on trying, in milliseconds from now. */
export class Patience {
  #until;
  #wait = FIRST_WAIT_MS;

  /** @param {number} ms */
  constructor(ms) {
    this.#until = performance.now() + ms;
  }

  /** Waits before the next try. Returns false at once if there is no time left for it. */
  async wait() {
    const wait = this.#wait * (0.5 + Math.random() / 2);
    if (performance.now() + wait > this.#until) return false;
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
    await new Promise((resolve) => setTimeout(resolve, wait));
    return true;
  }
}

/**
 * Why a request has no reply: `no_responders`, `timeout`, or undefined for errors of the connection.
 *
 * @param {any} error of the NATS client; told by name, for a program may have several copies of that package
 */
export function reasonOf(error) {
  if (error?.isNoResponders?.() || error?.name === "NoRespondersError") return "no_responders";
  return error?.name === "TimeoutError" ? "timeout" : undefined;
}
