/**
 * Follows the alerts of a tenant: `AlertFeed` listens for when to ask, and asks for the alerts after a place.
 *
 * A message on `daybook.alerts.<tenant>` only says that it is time to ask. The pages of `~alerts` say which alerts there
 * are. So a message that is lost, repeated or forged adds and hides no alert.
 */

import { Sleep } from "./sleep.js";

/** @typedef {import("./types.js").AlertPage} AlertPage */

/** Without a message, for one may be lost. */
const ASK_AFTER_MS = 10_000;
/** To the second question about a message: a service may read a copy of the stream that is a moment behind. */
const ASK_AGAIN_AFTER_MS = 1_000;

/**
 * The alerts after a place, and those that come. Made by `Daybook.followAlerts`; for one reader.
 *
 *     const feed = daybook.followAlerts(place);
 *     for await (const page of feed) {
 *       for (const alert of page.alerts) console.log(alert.alert, alert.day);
 *       place = page.newer; // store it when the page is handled
 *     }
 *     feed.close();
 *
 * An error of an iteration ends nothing: iterate again to go on at the same place.
 */
export class AlertFeed {
  /** Where the feed is: the `newer` of its last page. @type {string | undefined} */
  place;
  #daybook;
  #askAt = 0;
  #isHeard = false;
  #isClosed = false;
  /** Why the subscription has ended, such as a missing permission. @type {unknown} */
  #failure;
  /** Waits for a message or the end. */
  #sleep = new Sleep();
  #subscription;

  /**
   * Subscribes. Questions come later, so no alert falls in between.
   *
   * @param {import("./client.js").Daybook} daybook
   * @param {string} [place]
   */
  constructor(daybook, place) {
    this.#daybook = daybook;
    this.place = place;
    const callback = (/** @type {unknown} */ error) => {
      if (error) this.#failure = error;
      else this.#isHeard = true;
      this.#sleep.wake();
    };
    this.#subscription = daybook.nc.subscribe(`${daybook.prefix}.alerts.${daybook.tenant}`, { callback });
  }

  /** Stops listening; an iteration that waits ends. */
  close() {
    this.#isClosed = true;
    this.#subscription.unsubscribe();
    this.#sleep.wake();
  }

  /** @returns {AsyncIterator<AlertPage>} */
  [Symbol.asyncIterator]() {
    return { next: () => this.next() };
  }

  /**
   * Waits for the next page with alerts, oldest first. Throws AskError when Daybook does not answer for as long as
   * `patienceMs`, and the error of the NATS client when the subscription has ended, for want of a permission for example.
   *
   * @returns {Promise<IteratorResult<AlertPage>>}
   */
  async next() {
    while (!this.#isClosed) {
      if (this.#failure) throw this.#failure;
      const value = await this.#step();
      if (value?.alerts.length || value?.missed) return { done: false, value };
    }
    return { done: true, value: undefined };
  }

  /** Waits until it is time to ask, and asks. Returns undefined after a wait that ended early. */
  async #step() {
    const rest = this.#askAt - performance.now();
    if (!this.#isHeard && rest > 0) {
      await this.#sleep.upTo(rest);
      return undefined;
    }
    const isHeard = this.#isHeard;
    this.#isHeard = false;
    this.#askAt = 0; // if the question fails, it is time to ask again
    const page = /** @type {AlertPage} */ (
      /** @type {unknown} */ (await this.#daybook.ask("~alerts", { cursor: this.place }))
    );
    // The `next` of the first page leads to older alerts.
    const hasMore = this.place !== undefined && page.next !== undefined;
    this.place = page.newer;
    if (!hasMore) this.#askAt = performance.now() + (isHeard ? ASK_AGAIN_AFTER_MS : ASK_AFTER_MS);
    return page;
  }
}
