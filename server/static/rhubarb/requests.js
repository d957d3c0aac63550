/** The questions that wait for an answer on this connection, and the timers that end with it. */

import { RhubarbError } from './error.js';

/**
 * @typedef {object} Hooks
 * @property {(payload: any) => void} done
 * @property {(error: RhubarbError) => void} refused
 * @property {() => void} silent  no answer came in time
 */

export const ANSWER_WITHIN_MS = 10_000;

export class Requests {
  #lastId = 0;
  /** @type {Map<number, Hooks>} */ #open = new Map();
  /** @type {Set<ReturnType<typeof setTimeout>>} */ #timers = new Set();

  /**
   * Waits for the answer to a question.
   * @param {Hooks} hooks @param {number} [patience]
   * @returns {number} the question's id
   */
  expect(hooks, patience = ANSWER_WITHIN_MS) {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#open.set(id, hooks);
    this.later(patience, () => this.#open.delete(id) && hooks.silent());
    return id;
  }

  /** The question is void: its answer concerns nobody. @param {number} id */
  forget(id) {
    this.#open.delete(id);
  }

  /** Takes an answer. @param {any} frame @returns {boolean} whether it was one to an open question */
  answer({ type, id, payload }) {
    const hooks = this.#open.get(id);
    if (!hooks) return false;
    this.#open.delete(id);
    if (type === 'error') hooks.refused(new RhubarbError(payload.code, payload.message, payload.retryAfterMs));
    else hooks.done(payload);
    return true;
  }

  /** @param {number} ms @param {() => void} act */
  later(ms, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }

  /** The connection is gone. */
  clear() {
    this.#timers.forEach((timer) => clearTimeout(timer));
    this.#timers.clear();
    this.#open.clear();
  }
}
