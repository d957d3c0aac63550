/**
 * A connection that comes back: backoff with full jitter, dead-peer detection, orderly moves.
 * Over what it runs is the transport's business (transport.js). Knows only the frames `ping`, `pong` and
 * `goaway`, and the wait in `joined` and `pong` that one of a crowd is to keep; client.js owns the rest.
 */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const LONGEST_CROWD_MS = 60_000;
const OPEN_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 20_000;
const PONG_PATIENCE_MS = 10_000;
/** A connection that lived this long was a good one: the next failure starts at a short wait. */
const STABLE_AFTER_MS = 5_000;

/**
 * @typedef {'connected' | 'connecting' | 'offline'} State
 *   offline: waiting for the next attempt, or stopped.
 *
 * @typedef {object} Connection  what a transport opens
 * @property {(frame: object) => boolean} send  false: not open
 * @property {() => void} close  nothing is told after it
 *
 * @typedef {object} Ends        what a transport tells; the last once, and nothing after it
 * @property {() => void} onOpen
 * @property {(frame: any) => void} onFrame
 * @property {() => void} onClose
 *
 * @typedef {object} Status
 * @property {State} state
 * @property {number} retryAt  ms since 1970 of the next attempt; 0 when none is planned
 *
 * @typedef {object} Hooks
 * @property {(ends: Ends) => Connection} connect
 * @property {() => void} onOpen
 * @property {() => void} onDown               an open connection is gone
 * @property {(frame: any) => void} onFrame
 * @property {(status: Status) => void} onStatus
 */

/**
 * A uniformly random wait, whose upper end doubles with each failure: a server that returns
 * is not met by all its clients in the same instant.
 * @param {number} failures @param {number} [first] @param {number} [cap]
 */
export function jitter(failures, first = FIRST_WAIT_MS, cap = LONGEST_WAIT_MS) {
  return Math.random() * Math.min(cap, first * 2 ** Math.min(failures, 30));
}

export class Link {
  /** @type {Status} */
  status = { state: 'offline', retryAt: 0 };

  /** @type {Hooks} */ #hooks;
  /** @type {Connection | null} */ #connection = null;
  #running = false;
  #failures = 0;
  #heardAt = 0;
  /** How long we may wait, as one of a crowd, before we come back to another server. */
  #crowdMs = 0;
  /** When the server told us to move: the moment to do so (ms since 1970), else 0. */
  #moveAt = 0;
  /** @type {Record<string, ReturnType<typeof setTimeout> | undefined>} */ #timers = {};
  #browser = new AbortController();

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#listenToBrowser();
    this.#open();
  }

  stop() {
    this.#running = false;
    this.#browser.abort();
    this.#drop();
    this.#say('offline');
  }

  /** Replaces the connection at once, for instance because the address has changed. */
  reopen() {
    if (!this.#running) return;
    this.#drop();
    this.#open();
  }

  /** The network or the person may be back: do not sit out the wait; test an open connection. */
  wake() {
    if (!this.#running) return;
    if (this.status.state === 'connected') this.#ping();
    // A server that moves us has chosen the moment, so that not everybody comes at once.
    else if (this.status.state === 'offline' && !this.#moveAt) this.reopen();
  }

  /** @param {object} frame @returns {boolean} whether it was handed to an open connection */
  send(frame) {
    return this.#connection?.send(frame) ?? false;
  }

  #listenToBrowser() {
    this.#browser = new AbortController();
    const { signal } = this.#browser;
    const wake = () => this.wake();
    for (const event of ['online', 'offline', 'pageshow']) {
      globalThis.addEventListener?.(event, wake, { signal });
    }
    globalThis.addEventListener?.('pagehide', () => this.#rest(), { signal });
    globalThis.document?.addEventListener('visibilitychange', () => document.hidden || wake(), { signal });
  }

  /** The person has left the page. The browser may keep it, with the connection, to bring it back: `pageshow`. */
  #rest() {
    this.#drop();
    this.#say('offline');
  }

  #open() {
    this.#moveAt = 0;
    this.#say('connecting');
    this.#after('open', OPEN_TIMEOUT_MS, () => this.#lost());

    // A replaced connection may still report events; only the current one counts.
    /** @type {Connection | null} */ let connection = null;
    const current = (/** @type {(detail?: any) => void} */ act) => (/** @type {any} */ detail = undefined) => {
      if (this.#connection === connection) act(detail);
    };
    connection = this.#hooks.connect({
      onOpen: current(() => this.#opened()),
      onFrame: current((frame) => this.#heard(frame)),
      onClose: current(() => this.#lost()),
    });
    this.#connection = connection;
  }

  #opened() {
    this.#clear('open');
    this.#heardAt = Date.now();
    this.#after('stable', STABLE_AFTER_MS, () => (this.#failures = 0));
    this.#after('ping', PING_EVERY_MS, () => this.#ping());
    this.#say('connected');
    this.#hooks.onOpen();
  }

  /** @param {any} frame */
  #heard(frame) {
    this.#heardAt = Date.now();
    this.#clear('pong');
    if (frame?.type === 'joined' || frame?.type === 'pong') this.#crowdMs = Math.min(frame.payload?.reconnectInMs?.[1] ?? 0, LONGEST_CROWD_MS);
    if (frame?.type === 'goaway') this.#planMove(frame.payload?.reconnectInMs);
    else if (frame?.type && frame.type !== 'pong') this.#hooks.onFrame(frame);
  }

  #ping() {
    const askedAt = Date.now();
    this.#after('ping', PING_EVERY_MS, () => this.#ping());
    if (!this.send({ type: 'ping', id: askedAt })) return;
    // A closed laptop stops the clock: what counts is whether anything came since the ping.
    this.#after('pong', PONG_PATIENCE_MS, () => {
      if (this.#heardAt >= askedAt) return;
      this.#crowdMs = 0; // we alone: the server did not end it
      this.#lost();
    });
  }

  /** @param {[number, number]} [range] */
  #planMove([least, most] = [500, 5_000]) {
    const wait = least + Math.random() * Math.max(0, most - least);
    this.#moveAt = Date.now() + wait;
    this.#after('move', wait, () => this.reopen());
  }

  /** The connection is gone: tell it and plan the next. */
  #lost() {
    const moveAt = this.#moveAt;
    this.#drop();
    if (!this.#running) return;
    const wait = moveAt ? Math.max(0, moveAt - Date.now()) : this.#wait();
    this.#moveAt = moveAt;
    this.#after('retry', wait, () => this.#open());
    this.#say('offline', Date.now() + wait);
  }

  /** Until the next attempt. The first after a good connection is one of a crowd that has lost the same server. */
  #wait() {
    const wait = jitter(this.#failures++, Math.max(FIRST_WAIT_MS, this.#crowdMs), Math.max(LONGEST_WAIT_MS, this.#crowdMs));
    this.#crowdMs = 0;
    return wait;
  }

  /** Lets go of the connection without waiting for the peer's farewell, which may never come. */
  #drop() {
    Object.keys(this.#timers).forEach((name) => this.#clear(name));
    const connection = this.#connection;
    this.#connection = null;
    this.#moveAt = 0;
    if (!connection) return;
    connection.close();
    if (this.status.state === 'connected') this.#hooks.onDown();
  }

  /** @param {State} state @param {number} [retryAt] */
  #say(state, retryAt = 0) {
    this.status = { state, retryAt };
    this.#hooks.onStatus(this.status);
  }

  /** @param {string} name @param {number} ms @param {() => void} act */
  #after(name, ms, act) {
    this.#clear(name);
    this.#timers[name] = setTimeout(act, ms);
  }

  /** @param {string} name */
  #clear(name) {
    clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}
