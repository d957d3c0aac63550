/**
 * Tests that run in Node (`node --test e2e/js/`) and in a browser (`client_library.rs` opens
 * tests.html), and the fake server that some of them talk to, frame by frame.
 */

/** @type {{ name: string, run: () => Promise<void> | void }[]} */
const tests = [];
const node = globalThis.process ? await import('node:test') : undefined;

/** @param {string} name  a fact @param {() => Promise<void> | void} run */
export function test(name, run) {
  if (node) node.test(name, { timeout: 20_000 }, run);
  else tests.push({ name, run });
}

/** In a browser: runs all, one after the other, and tells those that failed. */
export async function runAll() {
  const failures = [];
  for (const { name, run } of tests) {
    try {
      await run();
    } catch (error) {
      failures.push(`${name}: ${error.stack ?? error}`);
    }
  }
  return { count: tests.length, failures };
}

/** @param {unknown} actual @param {unknown} expected @param {string} [what] */
export function equal(actual, expected, what = '') {
  const [left, right] = [actual, expected].map((one) => JSON.stringify(one, null, 1) ?? 'undefined');
  if (left !== right) throw new Error(`${what}\n  is       ${left}\n  expected ${right}`);
}

/** @param {Promise<unknown>} promise @param {string} code */
export async function fails(promise, code) {
  const outcome = await promise.then(() => 'no failure', (error) => error.code ?? String(error));
  equal(outcome, code);
}

/** Waits until something is so; looks again at each turn of the event loop. @template T @param {() => T} look @param {string} [what] */
export async function eventually(look, what = look.toString()) {
  const end = Date.now() + 10_000;
  for (;;) {
    const seen = look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A server for one client, which says what a test says. */
export class FakeServer {
  /** The sockets that were opened, oldest first. @type {FakeSocket[]} */ sockets = [];
  /** Whether it takes connections. */ isUp = true;

  constructor() {
    const server = this;
    /** For the option `WebSocket`. */
    this.WebSocket = class extends FakeSocket {
      /** @param {string} address */
      constructor(address) {
        super(address, server.isUp);
        server.sockets.push(this);
      }
    };
  }

  get socket() {
    return this.sockets[this.sockets.length - 1];
  }

  /** The next frame of a type that the client has sent on the newest connection, taken once. @param {string} type */
  async heard(type) {
    const socket = () => this.socket;
    return eventually(() => {
      const at = socket()?.heard.findIndex((frame) => frame.type === type) ?? -1;
      return at >= 0 && socket().heard.splice(at, 1)[0];
    }, `a frame ${type}`);
  }

  /** @param {string} type @param {object} [payload] @param {number} [id] */
  says(type, payload, id) {
    this.socket.tell({ type, id, payload });
  }

  /** Answers the next join with a page. @param {object} [page] */
  async joins(page = {}) {
    const frame = await this.heard('join');
    const { roomId } = frame.payload;
    const messages = /** @type {any} */ (page).messages ?? [];
    const top = messages.at(-1)?.messageId ?? frame.payload.since ?? 0;
    this.says('joined', { roomId, complete: true, more: false, members: 1, top, messages, ...page }, frame.id);
    return frame;
  }

  /** Acknowledges the next message. @param {number} messageId @param {object} [more] */
  async acks(messageId, more = {}) {
    const frame = await this.heard('message');
    const { roomId, clientId } = frame.payload;
    this.says('ack', { roomId, clientId, messageId, duplicate: false, ...more }, frame.id);
    return frame;
  }

  /** Cuts the connection. */
  cut() {
    this.socket.end();
  }
}

class FakeSocket extends EventTarget {
  static OPEN = 1;
  readyState = 0;
  /** @type {any[]} */ heard = [];

  /** @param {string} address @param {boolean} isUp */
  constructor(address, isUp) {
    super();
    this.address = address;
    queueMicrotask(() => {
      if (!isUp) return this.end();
      this.readyState = 1;
      this.dispatchEvent(new Event('open'));
    });
  }

  /** @param {string} text */
  send(text) {
    const frame = JSON.parse(text);
    if (frame.type === 'ping') this.tell({ type: 'pong', id: frame.id });
    else this.heard.push(frame);
  }

  /** @param {object} frame */
  tell(frame) {
    this.dispatchEvent(Object.assign(new Event('message'), { data: JSON.stringify(frame) }));
  }

  close() {
    this.readyState = 3;
  }

  end() {
    this.readyState = 3;
    this.dispatchEvent(new Event('close'));
  }
}

/** A storage that lives as long as a test. */
export class FakeStorage {
  /** @type {Map<string, string>} */ #items = new Map();
  getItem = (/** @type {string} */ key) => this.#items.get(key) ?? null;
  setItem = (/** @type {string} */ key, /** @type {string} */ value) => void this.#items.set(key, value);
}

/** A message as the server delivers it. @param {number} messageId @param {number} prev @param {object} [more] */
export function message(messageId, prev, more = {}) {
  const timestamp = new Date(messageId / 1000).toISOString();
  return { roomId: 'r', messageId, prev, timestamp, userId: 'bob', username: 'Bob', clientId: `b${messageId}`, message: `m${messageId}`, ...more };
}
