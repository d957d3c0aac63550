/** Requests over HTTP, as the person who is connected. */

import { RhubarbError } from './error.js';

export class Http {
  /** @type {string} */ #base;
  /** @type {() => Promise<{ headers: Record<string, string>, query: Record<string, string> }>} */ #identity;
  /** @type {typeof fetch} */ #fetch;

  /**
   * @param {string} base  the server's origin
   * @param {() => Promise<{ headers: Record<string, string>, query: Record<string, string> }>} identity
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

  /** @param {string} path @param {object} body @param {string} [method] @returns {Promise<any>} */
  async send(path, body, method = 'POST') {
    const headers = { 'content-type': 'application/json' };
    return this.#json(await this.open(path, { method, headers, body: JSON.stringify(body) }));
  }

  /**
   * @param {string} path @param {RequestInit} [init]
   * @returns {Promise<Response>} one that is not a refusal
   */
  async open(path, init = {}) {
    const { headers, query } = await this.#identity();
    const address = new URL(path, this.#base);
    for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
    let response;
    try {
      response = await this.#fetch(address, { ...init, headers: { ...headers, ...init.headers } });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new RhubarbError('unreachable', 'The server did not answer.');
    }
    if (!response.ok) throw await refusal(response);
    return response;
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
