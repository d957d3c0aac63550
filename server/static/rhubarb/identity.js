/** Who we are to the server: a guest who names oneself, or the person of a token. */

import { RhubarbError } from './error.js';

/**
 * @typedef {object} Me
 * @property {string} userId
 * @property {string} username
 * @property {string} [tier]
 *
 * @typedef {string | (() => string | Promise<string>)} TokenSource
 */

/** A token is renewed when this part of its time is left, but not sooner than a minute before its end. */
const LEFT = 0.2;
const SOONEST_MS = 60_000;

export class Identity {
  /** @type {Me} */ me;

  /** @type {TokenSource | undefined} */ #source;
  /** @type {Promise<string> | undefined} */ #token;

  /** @param {{ token?: TokenSource, guest?: Me }} options */
  constructor({ token, guest }) {
    this.#source = token;
    this.me = guest ?? { userId: '', username: '' };
    if (typeof token === 'string') this.#read(token);
  }

  get isGuest() {
    return this.#source === undefined;
  }

  /** Whether another token can be had. */
  get canRenew() {
    return typeof this.#source === 'function';
  }

  /** @param {TokenSource} source */
  replace(source) {
    this.#source = source;
    this.#token = undefined;
  }

  /** @param {{ fresh?: boolean }} [options]  fresh: the one before was refused or is about to end */
  async token({ fresh = false } = {}) {
    if (fresh) this.#token = undefined;
    const source = this.#source;
    this.#token ??= Promise.resolve(typeof source === 'function' ? source() : source ?? '');
    const asked = this.#token;
    try {
      const token = await asked;
      this.#read(token);
      return token;
    } catch (error) {
      if (this.#token === asked) this.#token = undefined; // not kept: the next call asks again
      // Where tokens come from is away: as if the server were.
      throw new RhubarbError('unreachable', `There is no token now: ${error}`);
    }
  }

  /** For a request over HTTP. @param {{ fresh?: boolean }} [options] */
  async forHttp(options) {
    /** @type {{ headers: Record<string, string>, query: Record<string, string> }} */
    const identity = { headers: {}, query: {} };
    if (this.isGuest) Object.assign(identity.query, { userId: this.me.userId, username: this.me.username });
    else identity.headers.authorization = `Bearer ${await this.token(options)}`;
    return identity;
  }

  /** When to renew a token that ends in so many ms. @param {number} expiresInMs */
  static renewIn(expiresInMs) {
    return Math.max(0, expiresInMs - Math.min(SOONEST_MS, expiresInMs * LEFT));
  }

  /**
   * Who the token names, known before the server says so: what waits to be sent is ours. The server
   * checks the token; here it is only read.
   * @param {string} token
   */
  #read(token) {
    try {
      const [, body] = token.split('.');
      const bytes = Uint8Array.from(atob(body.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
      const { sub, name } = JSON.parse(new TextDecoder().decode(bytes));
      if (sub) this.me = { ...this.me, userId: sub, username: name ?? sub };
    } catch {
      // not a token that can be read here; the server tells who we are
    }
  }
}
