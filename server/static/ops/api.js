/** The calls below `/ops/api`. */

/** An answer that is no success. */
export class Refused extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @type {() => void} */
let signedOut = () => {};

/** Who is told when the cookie is over. @param {() => void} then */
export function onSignedOut(then) {
  signedOut = then;
}

/** @param {string} path @param {Record<string, any>} [query] */
export function get(path, query = {}) {
  const parts = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const text = new URLSearchParams(parts.map(([name, value]) => [name, String(value)])).toString();
  return call('GET', text ? `${path}?${text}` : path);
}

/** @param {string} path @param {any} body */
export const post = (path, body) => call('POST', path, body);

/** @param {string} method @param {string} path @param {any} [body] */
export async function call(method, path, body) {
  let response;
  try {
    response = await fetch(`/ops/api/${path}`, {
      method,
      headers: { 'x-rhubarb-ops': '1', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Refused(0, 'unreachable', 'The server cannot be reached.');
  }
  const text = await response.text();
  let told = null;
  try {
    told = text ? JSON.parse(text) : null;
  } catch {
    // a proxy's own page
  }
  if (response.ok) return told;
  if (response.status === 401 && path !== 'session') signedOut();
  throw new Refused(response.status, told?.code ?? 'unknown', told?.message ?? `The server answered ${response.status}.`);
}

/** Why a stream is refused: a browser does not tell. Nothing if it is not. @param {string} path */
export async function refusalOf(path) {
  const ending = new AbortController();
  try {
    const response = await fetch(`/ops/api/${path}`, { signal: ending.signal });
    if (response.ok) return null;
    if (response.status === 401) signedOut();
    const told = await response.json().catch(() => null);
    return told?.message ?? `the server answered ${response.status}`;
  } catch {
    return 'the server cannot be reached';
  } finally {
    ending.abort();
  }
}
