/** The questions that wait for an answer on this connection, and the timers that end with it. */

/** @typedef {import('./room.js').Outgoing} Outgoing */
/** @typedef {import('./room.js').Room} Room */

/**
 * @typedef {object} Request
 * @property {'join' | 'message' | 'leave'} type
 * @property {Room} room
 * @property {number} [since]     of a join: the last message seen
 * @property {Outgoing} [entry]   of a message
 */

const ANSWER_WITHIN_MS = 10_000;

export class Requests {
  #lastId = 0;
  /** @type {Map<number, Request>} */ #open = new Map();
  /** @type {Set<ReturnType<typeof setTimeout>>} */ #timers = new Set();

  nextId() {
    this.#lastId += 1;
    return this.#lastId;
  }

  /**
   * Waits for the answer to a request that was sent. A join voids an earlier join of its room.
   * @param {number} id @param {Request} request @param {() => void} onSilence
   */
  expect(id, request, onSilence) {
    if (request.type === 'join') {
      for (const [other, { type, room }] of this.#open) {
        if (type === 'join' && room === request.room) this.#open.delete(other);
      }
    }
    this.#open.set(id, request);
    this.later(ANSWER_WITHIN_MS, () => this.#open.delete(id) && onSilence());
  }

  /** The request that an answer belongs to, which is then done. @param {number} id */
  take(id) {
    const request = this.#open.get(id);
    this.#open.delete(id);
    return request;
  }

  /** @param {Room} room */
  isJoining(room) {
    return [...this.#open.values()].some((one) => one.type === 'join' && one.room === room);
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
