/** The client: one connection, the rooms on it, and who we are. What a room does is in room.js. */

import { Emitter } from './emitter.js';
import { quietly, RhubarbError } from './error.js';
import { Http } from './http.js';
import { Identity } from './identity.js';
import { jitter, Link } from './link.js';
import { Requests } from './requests.js';
import { Room } from './room.js';
import { Transports } from './transport.js';
import { ulid } from './ulid.js';
import { UnsentStore } from './unsent-store.js';

/** @typedef {import('./identity.js').Me} Me */

/**
 * Sends a question; 0 when there is no connection.
 * @callback Ask
 * @param {string} type @param {object} payload
 * @param {import('./requests.js').Hooks} hooks @param {number} [patience]
 * @returns {number}
 */

/**
 * @typedef {object} Options
 * @property {string} [url]       where the server is; default: the page's origin
 * @property {import('./identity.js').TokenSource} [token]  one, or what gets one: asked again before it ends
 * @property {Partial<Me>} [guest]  who we are where the server takes guests
 * @property {number} [pageSize]  messages asked for by a first join
 * @property {number} [keep]      messages kept in memory per room
 * @property {number} [queueLimit]  how much may wait to be sent, over all rooms
 * @property {Storage | null} [storage]  where that survives a reload; sessionStorage fits
 * @property {import('./transport.js').Name[]} [transports]
 * @property {typeof WebSocket} [WebSocket]
 * @property {typeof fetch} [fetch]
 *
 * @typedef {object} Status
 * @property {'connected' | 'connecting' | 'offline' | 'refused'} state
 *   offline: waiting for the next attempt, or closed; refused: no token will do, until `connect` again
 * @property {number} retryAt     ms since 1970 of the next attempt; 0 when none is planned
 * @property {import('./transport.js').Name} transport
 * @property {RhubarbError} [error]  why it is refused
 */

const REFUSALS_AT_MOST = 2;
const ANOTHER_PERSON = new RhubarbError('another_person', 'The token is another person\'s: make a new client.');
const DEFAULTS = { pageSize: 100, keep: 2_000, queueLimit: 500 };

export class Rhubarb extends Emitter {
  /** @type {Map<string, Room>} */ rooms = new Map();

  /** @type {typeof DEFAULTS} */ #options;
  /** @type {URL} */ #base;
  /** @type {Identity} */ #identity;
  /** @type {Http} */ #http;
  /** @type {Transports} */ #transports;
  /** @type {Link} */ #link;
  #requests = new Requests();
  /** @type {Storage | null | undefined} */ #storage;
  #unsent = new UnsentStore();
  /** The one person whose client this is, once that is known. */ #ours = '';
  /** Whether the server knows who we are, on this connection. */ #isKnown = false;
  /** The connection on which we are telling it. @type {Requests | undefined} */ #introducing;
  /** Tokens refused since anything was answered. */ #refusals = 0;
  /** @type {RhubarbError | undefined} */ #error;
  /** The status that was told last. */ #told = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #renewal;
  /** @type {{ resolve: () => void, reject: (error: RhubarbError) => void }[]} */ #waiting = [];

  /** @param {Options} [options] */
  constructor({ url = globalThis.location?.origin, token, guest = {}, storage, ...options } = {}) {
    super();
    this.#options = { ...DEFAULTS, ...options };
    this.#base = new URL(url.endsWith('/') ? url : `${url}/`);
    const userId = guest.userId ?? `guest-${ulid()}`;
    const stranger = { userId, username: guest.username ?? userId };
    this.#identity = new Identity(token === undefined ? { guest: stranger } : { token });
    this.#storage = storage;
    this.#isOurs();
    const ask = options.fetch ?? ((...request) => globalThis.fetch(...request));
    this.#http = new Http(this.#base.href, this.#identity, ask);
    this.#transports = new Transports({
      allowed: options.transports ?? ['websocket', 'events'],
      address: () => this.#address(),
      http: this.#http,
      WebSocket: options.WebSocket ?? globalThis.WebSocket,
    });
    this.#link = new Link({
      connect: (ends) => this.#transports.open(ends),
      onOpen: () => this.#opened(),
      onDown: () => this.#down(),
      onFrame: (frame) => this.#take(frame),
      onStatus: () => this.#tellStatus(),
    });
  }

  get userId() {
    return this.#identity.me.userId;
  }

  get username() {
    return this.#identity.me.username;
  }

  /** @returns {Status} */
  get status() {
    const { state, retryAt } = this.#link.status;
    const transport = this.#transports.name;
    if (this.#error) return { state: 'refused', retryAt: 0, transport, error: this.#error };
    return { state: state === 'connected' && !this.#isKnown ? 'connecting' : state, retryAt, transport };
  }

  /** Connects, and stays connected. @returns {Promise<void>} of the first connection */
  connect() {
    this.#error = undefined;
    this.#refusals = 0;
    this.#link.start();
    if (this.#isKnown) return Promise.resolve();
    return quietly(new Promise((resolve, reject) => this.#waiting.push({ resolve, reject })));
  }

  /** Lets go of the connection. Rooms and what is unsent stay, for the next `connect`. */
  close() {
    this.#link.stop();
    this.#settle(new RhubarbError('closed', 'The client was closed.'));
  }

  /** Connects at once, whatever wait is planned: the person asks for it. */
  reconnect() {
    if (this.#error) void this.connect();
    else if (this.status.state !== 'connected') this.#link.reopen();
  }

  /** Takes another name, as a guest; connects anew and resumes. @param {string} username */
  rename(username) {
    if (!this.#identity.isGuest || username === this.username) return;
    this.#identity.me = { ...this.#identity.me, username };
    this.#link.reopen();
  }

  /** Uses another token, from now on. @param {import('./identity.js').TokenSource} token */
  setToken(token) {
    this.#identity.replace(token);
    if (this.#error) void this.connect();
    else if (this.#link.status.state === 'connected') void this.#introduce();
  }

  /** Joins a room; one that is joined already is returned, one that was refused is asked for again. @param {string} roomId */
  join(roomId) {
    const joined = this.rooms.get(roomId);
    if (joined) {
      joined.join();
      return joined;
    }
    const room = new Room(roomId, this.#unsent.take(roomId), {
      ask: (type, payload, hooks, patience) => this.#ask(type, payload, hooks, patience),
      tell: (type, payload) => this.#isKnown && this.#link.send({ type, payload }),
      later: (ms, act) => this.#requests.later(ms, act),
      forget: (id) => this.#requests.forget(id),
      emit: (name, detail) => this._emit(name, detail),
      me: () => this.#identity.me,
      space: () => this.#options.queueLimit - [...this.rooms.values()].reduce((sum, one) => sum + one.outbox.length, 0),
      save: () => this.#unsent.save(this.rooms.values()),
      left: (one) => this.rooms.get(one.id) === one && this.rooms.delete(one.id),
      older: (before, limit) =>
        this.#http.get(`/rooms/${encodeURIComponent(roomId)}/messages?before=${before}&limit=${limit}`),
      options: this.#options,
    });
    this.rooms.set(roomId, room);
    if (this.#isKnown) room._up();
    return room;
  }

  // --- The connection -------------------------------------------------------------------------

  #address() {
    const address = new URL('./ws', this.#base);
    address.protocol = address.protocol.replace('http', 'ws');
    if (this.#identity.isGuest) {
      address.searchParams.set('userId', this.userId);
      address.searchParams.set('username', this.username);
    }
    return address.href;
  }

  /** @type {Ask} */
  #ask(type, payload, hooks, patience) {
    if (!this.#isKnown) return 0;
    const id = this.#requests.expect({
      done: (answer) => {
        this.#refusals = 0;
        hooks.done(answer);
      },
      refused: (error) => {
        hooks.refused(error);
        if (error.isAboutToken) this.#tokenRefused(error);
      },
      silent: hooks.silent,
    }, patience);
    if (this.#link.send({ type, id, payload })) return id;
    this.#requests.forget(id);
    return 0;
  }

  #opened() {
    if (this.#identity.isGuest || this.#transports.name === 'events') this.#known();
    else void this.#introduce();
  }

  /** Tells the server who we are: first of all, before the token ends, and when one is refused. */
  async #introduce({ fresh = false } = {}) {
    const requests = this.#requests; // of this connection
    if (this.#introducing === requests) return;
    this.#introducing = requests;
    let token;
    try {
      token = await this.#identity.token({ fresh });
    } catch {
      return requests.later(1_000 + jitter(3), () => this.#introduceAnew({ fresh }));
    }
    if (requests !== this.#requests) return;
    if (!this.#isOurs()) return this.#giveUp(ANOTHER_PERSON);
    if (this.#transports.name === 'events') return this.#authed(this.#identity.me);
    const id = requests.expect({
      done: (authed) => {
        this.#refusals = 0;
        this.#authed(authed);
      },
      refused: (error) => this.#notAuthed(error),
      silent: () => this.#link.reopen(),
    });
    this.#link.send({ type: 'auth', id, payload: { token } });
  }

  /** @param {{ fresh?: boolean }} [options] */
  #introduceAnew(options) {
    this.#introducing = undefined;
    void this.#introduce(options);
  }

  /** The server takes our token no more. @param {RhubarbError} error */
  #tokenRefused(error) {
    this.#refusals += 1;
    if (this.#refusals > REFUSALS_AT_MOST || !this.#identity.canRenew) this.#giveUp(error);
    else void this.#introduce({ fresh: true });
  }

  /** @param {Me & { expiresInMs?: number }} authed */
  #authed({ userId, username, tier, expiresInMs }) {
    this.#identity.me = { userId, username, tier };
    if (!this.#isOurs()) return this.#giveUp(ANOTHER_PERSON);
    this.#introducing = undefined;
    clearTimeout(this.#renewal);
    if (expiresInMs && this.#identity.canRenew) {
      const wait = Math.min(Identity.renewIn(expiresInMs), 2 ** 31 - 1);
      this.#renewal = setTimeout(() => void this.#introduce({ fresh: true }), wait);
    }
    this.#known();
  }

  /** @param {RhubarbError} error */
  #notAuthed(error) {
    this.#introducing = undefined;
    if (error.isAboutToken) return this.#tokenRefused(error);
    // Too many connections of ours, perhaps: one may end.
    this._emit('notice', { error });
    this.#requests.later(error.retryAfterMs ?? 5_000 + jitter(3), () => this.#introduceAnew());
  }

  /** Whether the token names whom the one before did: what is unsent must not be sent as another. */
  #isOurs() {
    if (!this.#ours && this.userId) {
      this.#ours = this.userId;
      this.#unsent = new UnsentStore(this.#storage, this.userId);
      for (const room of this.rooms.values()) room._adopt(this.#unsent.take(room.id));
    }
    return this.#ours === this.userId;
  }

  /** No token will do: asking on would only make noise. @param {RhubarbError} error */
  #giveUp(error) {
    this.#link.stop();
    this.#error = error;
    this.#tellStatus();
    this.#settle(error);
  }

  /** The server knows who we are: the rooms may begin, or go on. */
  #known() {
    const wasKnown = this.#isKnown;
    this.#isKnown = true;
    if (!wasKnown) this.#tellStatus();
    for (const room of this.rooms.values()) if (!wasKnown || room.state !== 'joined') room._up();
    this.#settle();
  }

  /** The connection is gone: nothing is joined, nothing is under way. */
  #down() {
    this.#isKnown = false;
    clearTimeout(this.#renewal);
    this.#requests.clear();
    this.#requests = new Requests();
    for (const room of this.rooms.values()) room._down();
  }

  #tellStatus() {
    const { status } = this;
    const told = JSON.stringify(status);
    if (told === this.#told) return;
    this.#told = told;
    this._emit('status', status);
  }

  /** @param {RhubarbError} [error] */
  #settle(error) {
    for (const { resolve, reject } of this.#waiting.splice(0)) error ? reject(error) : resolve();
  }

  // --- Frames ---------------------------------------------------------------------------------

  /** @param {any} frame */
  #take({ type, id, payload = {} }) {
    // What answers no open question answers one that is void by now.
    if (id !== undefined && id !== null) return void this.#requests.answer({ type, id, payload });
    const room = this.rooms.get(payload.roomId);
    if (type !== 'error') return room?._take(type, payload);
    const error = new RhubarbError(payload.code, payload.message, payload.retryAfterMs);
    if (room) room._refused(error);
    else this.#unasked(error);
  }

  /** An error that answers nothing. @param {RhubarbError} error */
  #unasked(error) {
    if (error.code === 'too_slow') this.rooms.forEach((room) => room._resume());
    else if (error.isAboutToken && this.#identity.canRenew) this.#tokenRefused(error);
    // A sign of typing that was one too many is nobody's concern.
    else if (error.code !== 'rate_limited') this._emit('notice', { error });
  }
}
