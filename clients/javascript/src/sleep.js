/** A wait that can be ended early, for one that waits at a time. */
export class Sleep {
  #end = () => {};

  /** Waits until `wake`, and not longer than so many milliseconds. */
  async upTo(/** @type {number} */ ms) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#end = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
    this.#end = () => {};
  }

  /** Ends the wait under way, if there is one. */
  wake() {
    this.#end();
  }
}
