/**
 * The Rhubarb chat client: joins rooms, sends, and stays right through lost connections.
 * No dependencies. Below it: socket.js (reconnecting), room.js (order, holes), outbox.js (what is
 * unsent, over reloads), requests.js (what waits for an answer), history.js (older messages over
 * HTTP), ulid.js (ids).
 *
 * ```js
 * import { ChatClient } from '/static/client.js';
 *
 * const chat = new ChatClient({ userId: 'u-1', username: 'Ada' });
 * chat.on('messages', ({ room, messages }) => messages.forEach((m) => console.log(room.id, m.message)));
 * chat.connect();
 * chat.join('lobby');
 * chat.send('lobby', 'hi'); // kept, and sent when it can be
 * ```
 *
 * What it promises:
 * - **Nothing written is lost.** A message stays in the room's `outbox` until it is acknowledged,
 *   over reconnects and (with `storage`) over reloads; it is resent under the same client id, and
 *   the server returns the first one's id. One message per room is under way at a time, so a
 *   refused one is never overtaken by the next.
 * - **One order, no doubles.** `room.messages` is sorted by id; each id and each client id of ours
 *   stands there once.
 * - **No silent hole.** Each message names the one before it; if that is not the last one seen,
 *   the room is joined again from there, and the message waits until the gap is filled.
 */

import { fetchOlder } from './history.js';
import { OutboxStore } from './outbox.js';
import { Requests } from './requests.js';
import { Room } from './room.js';
import { jitter, ReconnectingSocket } from './socket.js';
import { ulid } from './ulid.js';

/** @typedef {import('./room.js').Message} Message */
/** @typedef {import('./requests.js').Request} Request */
/** @typedef {import('./room.js').Outgoing} Outgoing */
/** @typedef {import('./socket.js').Status} Status */

/**
 * The events, by name, with what they carry.
 * @typedef {object} Events
 * @property {Status} status
 * @property {{ room: Room }} room  its state, members, `more` or `complete` changed
 * @property {{ room: Room }} replaced  all its messages were replaced
 * @property {{ room: Room, messages: Message[], older: boolean }} messages  these were added
 * @property {{ room: Room, message: Message }} changed  this one has another text now
 * @property {{ room: Room, messages: Message[] }} trimmed  these were forgotten to save memory
 * @property {{ room: Room, entry: Outgoing, done: boolean, message?: Message }} outgoing
 *   added to or changed in the outbox; done: gone from it, confirmed as `message` (absent when
 *   that lies before the oldest message loaded)
 * @property {{ room: Room, userId: string, username: string }} typing
 * @property {{ code: string, message: string }} notice  an error that concerns no message or room
 */

/** Error codes that mean: the same again, later. */
const TRY_AGAIN = new Set(['unavailable', 'rate_limited', 'too_slow']);
const TYPING_EVERY_MS = 3_000;
/** A message that met this many lost connections or silences may be their cause: ask the person. */
const TRIES_AT_MOST = 5;

export class ChatClient {
  /** @type {Map<string, Room>} */ rooms = new Map();

  /** @type {ReconnectingSocket} */ #socket;
  /** @type {Required<Options>} */ #options;
  #events = new EventTarget();
  #requests = new Requests();
  /** @type {OutboxStore} */ #unsent;
  /** @type {Map<string, number>} when we last told that we type */ #typedAt = new Map();

  /**
   * @typedef {object} Options
   * @property {string} userId      stable, 1-64 characters
   * @property {string} username    1-64 characters
   * @property {string} [base]      the server's origin; default: the page's
   * @property {number} [pageSize]  messages asked for by a first join
   * @property {number} [keep]      messages kept in memory per room
   * @property {Storage} [storage]  where the outbox survives a reload; sessionStorage fits
   */

  /** @param {Options} options */
  constructor(options) {
    this.#options = /** @type {any} */ ({
      base: globalThis.location?.origin, pageSize: 100, keep: 2_000, storage: null, ...options,
    });
    this.#unsent = new OutboxStore(this.#options.storage);
    this.#socket = new ReconnectingSocket({
      address: () => this.#address(),
      onOpen: () => this.rooms.forEach((room) => this.#ask(room)),
      onDown: () => this.#down(),
      onFrame: (frame) => this.#take(frame),
      onStatus: (status) => this.#emit('status', status),
    });
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} name @param {(detail: Events[Name]) => void} listener
   */
  on(name, listener) {
    this.#events.addEventListener(name, (event) => listener(/** @type {CustomEvent} */ (event).detail));
  }

  get userId() {
    return this.#options.userId;
  }

  get username() {
    return this.#options.username;
  }

  /** @returns {Status} */
  get status() {
    return this.#socket.status;
  }

  connect() {
    this.#socket.start();
  }

  close() {
    this.#socket.stop();
  }

  /** Connects at once, whatever wait is planned: the person asks for it. */
  reconnect() {
    if (this.status.state !== 'connected') this.#socket.reopen();
  }

  /** Takes another name; connects anew and resumes. @param {string} username */
  rename(username) {
    if (username === this.#options.username) return;
    this.#options.username = username;
    this.#socket.reopen();
  }

  /** Joins a room; one that is joined already is returned, one that was refused is asked for again. @param {string} roomId @returns {Room} */
  join(roomId) {
    const joined = this.rooms.get(roomId);
    if (joined?.state === 'refused') this.#ask(joined);
    if (joined) return joined;
    const room = new Room(roomId);
    room.outbox = this.#unsent.take(roomId);
    this.rooms.set(roomId, room);
    this.#ask(room);
    return room;
  }

  /** Leaves a room; what was not sent is dropped. @param {string} roomId */
  leave(roomId) {
    const room = this.rooms.get(roomId);
    if (!room) return;
    this.rooms.delete(roomId);
    this.#request({ type: 'leave', room }, {});
    this.#unsent.save(this.rooms.values());
  }

  /**
   * Sends a message now or, failing that, as soon as possible.
   * @param {string} roomId  a joined room
   * @param {string} message
   * @returns {Outgoing}
   */
  send(roomId, message) {
    const room = this.join(roomId);
    /** @type {Outgoing} */
    const entry = { clientId: ulid(), message, writtenAt: Date.now(), state: 'queued', tries: 0 };
    room.outbox.push(entry);
    this.#typedAt.delete(roomId);
    this.#outgoing(room, entry);
    this.#pump(room);
    return entry;
  }

  /** Sends a failed message again, under the same client id. @param {string} roomId @param {string} clientId */
  retry(roomId, clientId) {
    const room = this.rooms.get(roomId);
    const entry = room?.outbox.find((one) => one.clientId === clientId);
    if (!room || entry?.state !== 'failed') return;
    Object.assign(entry, { state: 'queued', tries: 0, error: undefined });
    this.#outgoing(room, entry);
    this.join(roomId);
    this.#pump(room);
  }

  /** Drops a message that was not sent. @param {string} roomId @param {string} clientId */
  discard(roomId, clientId) {
    if (this.rooms.get(roomId)?.settle(clientId)) this.#unsent.save(this.rooms.values());
  }

  /** Tells the room that we type; at most every few seconds. @param {string} roomId */
  typing(roomId) {
    const now = Date.now();
    if (now - (this.#typedAt.get(roomId) ?? 0) < TYPING_EVERY_MS) return;
    if (this.rooms.get(roomId)?.state !== 'joined') return;
    this.#typedAt.set(roomId, now);
    this.#socket.send({ type: 'typing', payload: { roomId } });
  }

  /**
   * Loads the page of messages before the oldest one here.
   * @param {Room} room @param {number} [limit]
   * @throws {import('./history.js').HistoryError}
   */
  async loadOlder(room, limit = 50) {
    const { generation } = room;
    const before = room.messages[0]?.messageId ?? Number.MAX_SAFE_INTEGER;
    const page = await fetchOlder(this.#options.base, room.id, before, limit);
    if (generation !== room.generation) return; // the room was reloaded meanwhile
    const messages = room.prepend(page.messages, page.more);
    this.#emit('messages', { room, messages, older: true });
    this.#emit('room', { room });
  }

  #address() {
    const address = new URL('/ws', this.#options.base);
    address.protocol = address.protocol.replace('http', 'ws');
    address.searchParams.set('userId', this.userId);
    address.searchParams.set('username', this.username);
    return address.href;
  }

  /** Asks to join: from the last message seen, or for the newest page. @param {Room} room */
  #ask(room, since = room.cursor) {
    room.state = 'joining';
    room.error = '';
    const limit = this.#options.pageSize;
    this.#request({ type: 'join', room, since }, since ? { since, limit } : { limit });
    this.#emit('room', { room });
  }

  /** Sends what is next in the outbox, if nothing of it is under way. @param {Room} room */
  #pump(room) {
    const entry = room.outbox.find(({ state }) => state !== 'failed');
    if (room.state !== 'joined' || entry?.state !== 'queued') return;
    const { clientId, message } = entry;
    if (!this.#request({ type: 'message', room, entry }, { clientId, message })) return;
    entry.state = 'sent';
    entry.tries += 1;
    this.#outgoing(room, entry);
  }

  /**
   * Sends a frame that has an answer, and watches for that answer.
   * @param {Request} request @param {object} payload
   */
  #request(request, payload) {
    const { type, room } = request;
    const id = this.#requests.nextId();
    if (!this.#socket.send({ type, id, payload: { roomId: room.id, ...payload } })) return false;
    this.#requests.expect(id, request, () => this.#again(request));
    return true;
  }

  /** No answer, or one that says "try again". @param {Request} request @param {number} [wait] */
  #again({ type, room, since, entry }, wait = 0) {
    if (this.rooms.get(room.id) !== room) return;
    if (type === 'join' && room.state === 'joining') {
      this.#requests.later(wait, () => {
        if (room.state === 'joining' && !this.#requests.isJoining(room)) this.#ask(room, since);
      });
    } else if (entry?.state === 'sent') {
      this.#giveBack(room, entry, () => this.#requests.later(wait, () => this.#requeue(room, entry)));
    }
  }

  /** @param {Room} room @param {Outgoing} entry */
  #requeue(room, entry) {
    if (entry.state !== 'sent') return;
    entry.state = 'queued';
    this.#pump(room);
  }

  /**
   * Fails an unanswered message after too many tries; else does `next`.
   * @param {Room} room @param {Outgoing} entry @param {() => void} next
   */
  #giveBack(room, entry, next) {
    if (entry.tries < TRIES_AT_MOST) return next();
    this.#fail(room, entry, 'The server did not answer.');
  }

  /** @param {Room} room @param {Outgoing} entry @param {string} error */
  #fail(room, entry, error) {
    Object.assign(entry, { state: 'failed', error });
    this.#outgoing(room, entry);
    this.#pump(room);
  }

  /** The connection is gone: nothing is joined, nothing is under way. */
  #down() {
    this.#requests.clear();
    this.#typedAt.clear();
    for (const room of this.rooms.values()) {
      room.state = 'idle';
      room.release(); // the next join returns these
      for (const entry of room.outbox.filter(({ state }) => state === 'sent')) {
        this.#giveBack(room, entry, () => (entry.state = 'queued'));
        this.#outgoing(room, entry);
      }
      this.#emit('room', { room });
    }
  }

  /** @param {any} frame */
  #take({ type, id, payload = {} }) {
    const request = this.#requests.take(id);
    if (id !== undefined && !request) return; // answers a question that is void by now
    if (type === 'error') return this.#refused(payload, request);
    if (type === 'joined' && request) return this.#joined(payload, request);
    if (type === 'ack' && request?.entry) return this.#acknowledged(payload, request);

    const room = this.rooms.get(payload.roomId);
    if (!room) return;
    if (type === 'message') this.#receive(room, payload);
    else if (type === 'reset') this.#ask(room, 0);
    else if (type === 'presence') {
      room.members = payload.members;
      this.#emit('room', { room });
    } else if (type === 'typing' && payload.userId !== this.userId) {
      this.#emit('typing', { room, userId: payload.userId, username: payload.username });
    }
  }

  /** @param {import('./room.js').Joined} page @param {Request} request */
  #joined(page, { room, since = 0 }) {
    if (this.rooms.get(room.id) !== room) return;
    const { kind, added } = room.fill(page, since);
    if (kind === 'stale') return this.#ask(room, 0);
    room.state = 'joined';
    this.#settleOwn(room, page.messages);
    if (kind === 'replaced') this.#emit('replaced', { room });
    else if (added.length) this.#emit('messages', { room, messages: added, older: false });
    this.#emit('room', { room });
    room.release().forEach((message) => this.#receive(room, message));
    this.#pump(room);
  }

  /** @param {Room} room @param {Message} message */
  #receive(room, message) {
    if (room.state !== 'joined') return room.hold(message);
    const outcome = room.receive(message);
    if (outcome === 'hole') {
      room.hold(message);
      return this.#mend(room);
    }
    if (message.prev) room.mends = 0;
    this.#settleOwn(room, [message]);
    if (outcome === 'added') this.#emit('messages', { room, messages: [message], older: false });
    else if (outcome === 'changed') this.#emit('changed', { room, message });
    this.#trim(room);
  }

  /** Fills a hole; waits longer each time if filling does not help. @param {Room} room */
  #mend(room) {
    room.state = 'joining';
    const wait = room.mends ? jitter(room.mends, 200) : 0;
    room.mends += 1;
    this.#again({ type: 'join', room, since: room.cursor }, wait);
  }

  /** @param {{ messageId: number }} ack @param {Request} request */
  #acknowledged({ messageId }, { room, entry }) {
    if (!entry || !room.settle(entry.clientId)) return; // its broadcast was faster
    const { clientId, message } = entry;
    const timestamp = new Date(messageId / 1000).toISOString();
    const { userId, username } = this;
    /** @type {Message} */
    const confirmed = { messageId, prev: 0, timestamp, userId, username, clientId, message };
    const isHere = room.confirm(confirmed);
    this.#outgoing(room, entry, isHere ? confirmed : undefined, true);
    this.#pump(room);
  }

  /** Drops the pending copies of our own messages among these. @param {Room} room @param {Message[]} messages */
  #settleOwn(room, messages) {
    for (const message of messages) {
      const entry = message.userId === this.userId && room.settle(message.clientId);
      if (entry) this.#outgoing(room, entry, message, true);
    }
    this.#pump(room);
  }

  /** @param {{ code: string, message: string, retryAfterMs?: number }} error @param {Request} [request] */
  #refused({ code, message, retryAfterMs }, request) {
    if (!request) {
      if (code !== 'too_slow') return this.#emit('notice', { code, message });
      // Frames for us were dropped: fetch what they carried.
      this.rooms.forEach((room) => room.state === 'joined' && this.#mend(room));
      return;
    }
    const { type, room, entry } = request;
    if (TRY_AGAIN.has(code)) {
      if (entry) entry.tries = 0; // that was an answer
      this.#again(request, retryAfterMs ?? 500 + jitter(3));
    } else if (type === 'join') {
      Object.assign(room, { state: 'refused', error: message });
      this.#emit('room', { room });
    } else if (entry) {
      this.#fail(room, entry, message);
    }
  }

  /** @param {Room} room */
  #trim(room) {
    // In steps of a tenth, so that a busy room does not trim at every message.
    if (room.messages.length < this.#options.keep * 1.1) return;
    const messages = room.trim(this.#options.keep);
    if (messages.length) this.#emit('trimmed', { room, messages });
  }

  /** @param {Room} room @param {Outgoing} entry @param {Message} [message] @param {boolean} [done] */
  #outgoing(room, entry, message, done = false) {
    this.#unsent.save(this.rooms.values());
    this.#emit('outgoing', { room, entry, done, message });
  }

  /** @template {keyof Events} Name @param {Name} name @param {any} detail */
  #emit(name, detail) {
    this.#events.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
