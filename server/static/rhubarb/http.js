/** Requests over HTTP, as the person who is connected. */

import { RhubarbError } from './error.js';

export class Http {
  /** @type {string} */ #base;
  /** @type {import('./identity.js').Identity} */ #identity;
  /** @type {typeof fetch} */ #fetch;

  /**
   * @param {string} base  where the server is; ends with a slash
   * @param {import('./identity.js').Identity} identity
   * @param {typeof fetch} fetch
   */
  constructor(base, identity, fetch) {
    this.#base = base;
    this.#identity = identity;
    this.#fetch = fetch;
  }

  /** @param {string} path @returns {Promise<any>} */
  async get(path) {
    return this.#json(await this.open(path));
  }

  /** @param {string} path @param {object | undefined} body @param {string} [method] @returns {Promise<any>} */
  async send(path, body, method = 'POST') {
    const headers = { 'content-type': 'application/json' };
    return this.#json(await this.open(path, { method, headers, body: JSON.stringify(body) }));
  }

  /**
   * @param {string} path @param {RequestInit} [init]
   * @returns {Promise<Response>} one that is not a refusal
   */
  async open(path, init = {}) {
    const response = await this.#ask(path, init);
    if (response.ok) return response;
    const error = await refusal(response);
    // A token may have ended while nobody looked.
    if (!error.isAboutToken || !this.#identity.canRenew) throw error;
    const again = await this.#ask(path, init, { fresh: true });
    if (!again.ok) throw await refusal(again);
    return again;
  }

  /** @param {string} path @param {RequestInit} init @param {{ fresh?: boolean }} [options] */
  async #ask(path, init, options) {
    const { headers, query } = await this.#identity.forHttp(options);
    const address = new URL(`.${path}`, this.#base);
    for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
    try {
      return await this.#fetch(address, { ...init, headers: { ...headers, ...init.headers } });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new RhubarbError('unreachable', 'The server did not answer.');
    }
  }

  /** @param {Response} response */
  async #json(response) {
    try {
      return await response.json();
    } catch {
      throw new RhubarbError('unreachable', 'The answer broke off.');
    }
  }
}

/** @param {Response} response */
async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const afterSeconds = Number(response.headers.get('retry-after'));
  const retryAfterMs = body.retryAfterMs ?? (afterSeconds ? afterSeconds * 1000 : undefined);
  const code = body.code ?? (response.status >= 500 ? 'unreachable' : `http_${response.status}`);
  return new RhubarbError(code, body.message ?? `The server answered ${response.status}.`, retryAfterMs);
}
