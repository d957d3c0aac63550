/** Events by name. A listener that throws is reported and disturbs nobody else. */
export class Emitter {
  /** @type {Map<string, Set<(detail: any) => void>>} */ #listeners = new Map();

  /**
   * @param {string} name @param {(detail: any) => void} listener
   * @returns {() => void} ends the listening
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** @param {string} name @param {any} [detail] */
  _emit(name, detail) {
    for (const listener of [...this.#listeners.get(name) ?? []]) {
      try {
        listener(detail);
      } catch (error) {
        // To the console or the page's handler, as if nobody had caught it.
        setTimeout(() => { throw error; });
      }
    }
  }
}
