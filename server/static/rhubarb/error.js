/** Why something could not be done: a code for programs (docs/protocol.md lists them), a text for people. */
export class RhubarbError extends Error {
  /** @param {string} code @param {string} message @param {number} [retryAfterMs] */
  constructor(code, message, retryAfterMs) {
    super(message);
    this.name = 'RhubarbError';
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same again, later, may do. */
  get isPassing() {
    return ['unavailable', 'rate_limited', 'too_many_connections', 'too_slow', 'unreachable', 'draining'].includes(this.code);
  }

  /** Whether another token may do. */
  get isAboutToken() {
    return this.code === 'expired' || this.code === 'unauthorized';
  }
}

/** Waits for nobody: a failure that is told in another way too is not "unhandled". @template T @param {Promise<T>} promise */
export function quietly(promise) {
  promise.catch(() => {});
  return promise;
}
