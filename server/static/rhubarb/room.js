/**
 * One joined room: its messages without holes, what is unsent, and what can be done in it.
 * Methods that begin with `_` are for the client (client.js) alone.
 */

import { Emitter } from './emitter.js';
import { RhubarbError } from './error.js';
import { jitter } from './link.js';
import { ANSWER_WITHIN_MS } from './requests.js';
import { Sender } from './sender.js';
import { added, Timeline } from './timeline.js';

/** @typedef {import('./sender.js').Ack} Ack */
/** @typedef {import('./sender.js').Outgoing} Outgoing */
/** @typedef {import('./timeline.js').Entry} Entry */
/** @typedef {import('./timeline.js').Message} Message */
/** @typedef {import('./timeline.js').Page} Page */
/** @typedef {import('./timeline.js').Put} Put */

const TYPING_EVERY_MS = 3_000;
const MISSED_AT_MOST = 1_000;

/**
 * @typedef {object} Port  what a room needs of the client
 * @property {import('./client.js').Ask} ask
 * @property {(type: string, payload: object) => boolean} tell  sends a frame that has no answer
 * @property {(ms: number, act: () => void) => void} later
 * @property {(id: number) => void} forget
 * @property {(name: string, detail: any) => void} emit
 * @property {() => import('./client.js').Me} me
 * @property {() => number} space
 * @property {() => void} save
 * @property {(room: Room) => void} left
 * @property {(before: number, limit: number) => Promise<{ messages: Entry[], more: boolean }>} older
 * @property {{ pageSize: number, keep: number }} options
 */

export class Room extends Emitter {
  /** @type {'idle' | 'joining' | 'joined' | 'refused' | 'left'} */ state = 'idle';
  /** Why it was refused. @type {RhubarbError | undefined} */ error;
  members = 0;
  /** True while a person reads old messages: nothing may be forgotten to save memory. */ pinned = false;

  /** @type {string} */ #id;
  /** @type {Port} */ #port;
  #timeline = new Timeline();
  /** @type {Sender} */ #sender;
  /** The join that is under way: its number, to know its answer. */ #asked = 0;
  /** The rest of the history is still coming. */ #continues = false;
  /** Parts of histories that have come. */ #parts = 0;
  /** How often filling a hole was tried without an entry in order since. */ #mends = 0;
  #typedAt = 0;

  /** @param {string} id @param {Outgoing[]} unsent @param {Port} port */
  constructor(id, unsent, port) {
    super();
    this.#id = id;
    this.#port = port;
    this.#sender = new Sender(unsent, {
      isReady: () => this.state === 'joined',
      ask: (type, payload, hooks, patience) => port.ask(type, { roomId: id, ...payload }, hooks, patience),
      later: port.later,
      space: port.space,
      changed: (entry) => this.#outgoing(entry),
      done: (entry, ack) => this.#sent(entry, ack),
    });
  }

  get id() {
    return this.#id;
  }

  /** Oldest first. Not to be changed. */
  get messages() {
    return this.#timeline.messages;
  }

  /** What is not acknowledged, in the order it was written. Not to be changed. */
  get outbox() {
    return this.#sender.entries;
  }

  /** Whether there are older messages: `loadOlder` gets them. */
  get more() {
    return this.#timeline.more;
  }

  /** False while the server still fetches the room's history; `replaced` follows. */
  get complete() {
    return this.#timeline.complete;
  }

  /** Whether the room's messages have arrived once. */
  get isLoaded() {
    return this.#timeline.generation > 0;
  }

  /** @param {number} messageId */
  message(messageId) {
    return this.#timeline.get(messageId);
  }

  /** @param {string} text @param {{ ack?: 'redis' | 'db', clientId?: string }} [options] @returns {Promise<Ack>} */
  send(text, { ack, clientId } = {}) {
    this.#typedAt = 0;
    return this.#add({ kind: 'message', message: text, ack, clientId });
  }

  /** @param {number} messageId @param {string} text @returns {Promise<Ack>} */
  edit(messageId, text) {
    return this.#add({ kind: 'edit', message: text, target: messageId });
  }

  /** @param {number} messageId @returns {Promise<Ack>} */
  delete(messageId) {
    return this.#add({ kind: 'delete', message: '', target: messageId });
  }

  /** @param {string} clientId @returns {Promise<Ack>} */
  retry(clientId) {
    this.join();
    return this.#sender.retry(clientId);
  }

  /** @param {string} clientId */
  discard(clientId) {
    this.#sender.discard(clientId);
  }

  /** Tells the room that we type; at most every few seconds. */
  typing() {
    const now = Date.now();
    if (this.state !== 'joined' || now - this.#typedAt < TYPING_EVERY_MS) return;
    this.#typedAt = now;
    this.#port.tell('typing', { roomId: this.id });
  }

  /** @param {number} [limit] @returns {Promise<Message[]>} */
  async loadOlder(limit = 50) {
    const { generation, oldest } = this.#timeline;
    const page = await this.#port.older(oldest, limit);
    if (generation !== this.#timeline.generation) return []; // the room was reloaded meanwhile
    const messages = this.#timeline.prepend(page.messages, page.more);
    if (messages.length) this.#emit('messages', { messages, older: true });
    this.#emit('room');
    return messages;
  }

  /** Asks again to join a room that was refused. */
  join() {
    if (this.state === 'refused') this.#ask();
  }

  leave() {
    if (this.state === 'left') return;
    this.#port.tell('leave', { roomId: this.id });
    this.#sender.clear();
    this.state = 'left';
    this.#port.left(this);
    this.#emit('room');
  }

  // --- For the client -------------------------------------------------------------------------

  /** There is a connection. */
  _up() {
    this.#ask();
  }

  /** The connection is gone: nothing is joined, nothing is under way. */
  _down() {
    this.#asked = 0;
    this.#continues = false;
    this.#typedAt = 0;
    if (this.state !== 'refused') this.state = 'idle';
    this.#timeline.release(); // the next join returns these
    this.#sender.down();
    this.#emit('room');
  }

  /** What an earlier load of the page left unsent. @param {Outgoing[]} entries */
  _adopt(entries) {
    this.#sender.adopt(entries);
  }

  /** Frames for us were dropped: fetch what they carried. */
  _resume() {
    if (this.state === 'joined') this.#mend();
  }

  /** We may not be here any more. @param {RhubarbError} error */
  _refused(error) {
    if (!['forbidden_room', 'bad_room'].includes(error.code)) return this.#port.emit('notice', { error });
    this.state = 'joining'; // as if we had asked
    this.#refused(error, 0);
  }

  /** @param {string} type @param {any} payload */
  _take(type, payload) {
    if (type === 'message') this.#receive(payload);
    else if (type === 'history') this.#extend(payload);
    else if (type === 'reset') this.#reset(payload);
    else if (type === 'left') this.#ask(); // the server put us out; the answer says why
    else if (type === 'presence') {
      this.members = payload.members;
      this.#emit('room');
    } else if (type === 'typing' && payload.userId !== this.#port.me().userId) {
      this.#emit('typing', { userId: payload.userId, username: payload.username });
    }
  }

  // --- Joining --------------------------------------------------------------------------------

  /** Asks to join: from the last entry seen, or for the newest page. */
  #ask(since = this.#timeline.resumesFrom) {
    this.state = 'joining';
    this.error = undefined;
    this.#continues = false;
    this.#port.forget(this.#asked); // a join voids an earlier one
    // Who comes back wants all that was missed; the server has a limit of its own.
    const { pageSize } = this.#port.options;
    const limit = since ? Math.max(pageSize, MISSED_AT_MOST) : pageSize;
    this.#asked = this.#port.ask('join', { roomId: this.id, ...(since ? { since } : {}), limit }, {
      done: (page) => this.#joined(page, since),
      refused: (error) => this.#refused(error, since),
      silent: () => this.#ask(since),
    });
    this.#emit('room');
  }

  /** @param {number} wait @param {number} [since] */
  #askLater(wait, since) {
    const asked = this.#asked;
    this.#port.later(wait, () => {
      if (this.state === 'joining' && asked === this.#asked) this.#ask(since);
    });
  }

  /** @param {Page & { members: number }} page @param {number} since */
  #joined(page, since) {
    if (this.state !== 'joining') return;
    const filled = this.#timeline.fill(page, since);
    if (filled === 'stale') return this.#ask(0);
    this.members = page.members ?? this.members;
    this.#settleOwn(page.messages);
    if (filled === 'replaced') this.#emit('replaced');
    else this.#tell(filled);
    this.#whole(page.continues);
  }

  /** @param {{ messages: Entry[], continues?: boolean }} part */
  #extend(part) {
    if (!this.#continues) return; // of a join that is void
    const puts = this.#timeline.extend(part);
    if (puts === 'hole') return this.#mend();
    this.#settleOwn(part.messages);
    this.#tell(puts);
    this.#whole(part.continues);
  }

  /** Live from here on, unless more of the history follows. @param {boolean} [continues] */
  #whole(continues = false) {
    this.#continues = continues;
    if (continues) return this.#awaitPart();
    this.state = 'joined';
    this.#emit('room');
    this.#timeline.release().forEach((entry) => this.#receive(entry));
    this.#sender.pump();
  }

  /** A part that does not come is asked for. */
  #awaitPart() {
    this.#parts += 1;
    const parts = this.#parts;
    this.#port.later(ANSWER_WITHIN_MS, () => {
      if (this.#continues && parts === this.#parts) this.#ask();
    });
  }

  /** @param {RhubarbError} error @param {number} since */
  #refused(error, since) {
    if (this.state !== 'joining') return;
    // The client sees to another token, and then asks again.
    if (error.isAboutToken) return;
    if (error.isPassing) return this.#askLater(error.retryAfterMs ?? 500 + jitter(3), since);
    this.state = 'refused';
    this.error = error;
    this.#emit('room');
  }

  /** @param {{ since?: number }} reset */
  #reset({ since }) {
    if (this.state === 'refused') return;
    // With `since` only what came after it is missing. What we have seen ourselves is as good or better.
    this.#ask(since ? this.#timeline.resumesFrom : 0);
  }

  // --- Messages -------------------------------------------------------------------------------

  /** @param {Entry} entry */
  #receive(entry) {
    if (this.state !== 'joined') return this.#timeline.hold(entry);
    const put = this.#timeline.receive(entry);
    if (put === 'hole') {
      this.#timeline.hold(entry);
      return this.#mend();
    }
    if (entry.prev) this.#mends = 0;
    this.#settleOwn([entry]);
    this.#tell([put]);
    this.#trim();
  }

  /** Fills a hole; waits longer each time if filling does not help. */
  #mend() {
    this.#continues = false; // what else comes of a join that does not fit is void
    const wait = this.#mends ? jitter(this.#mends, 200) : 0;
    this.#mends += 1;
    if (!wait) return this.#ask();
    this.state = 'joining';
    this.#askLater(wait);
  }

  /** @param {Put[]} puts */
  #tell(puts) {
    const messages = added(puts);
    if (messages.length) this.#emit('messages', { messages, older: false });
    added(puts, 'changed').forEach((message) => this.#emit('changed', { message }));
  }

  #trim() {
    const { keep } = this.#port.options;
    // In steps of a tenth, so that a busy room does not trim at every message.
    if (this.pinned || this.messages.length < keep * 1.1) return;
    const messages = this.#timeline.trim(keep);
    if (messages.length) this.#emit('trimmed', { messages });
  }

  // --- Sending --------------------------------------------------------------------------------

  /** @param {Parameters<Sender['add']>[0]} what */
  #add(what) {
    if (this.state !== 'left') return this.#sender.add(what);
    return Promise.reject(new RhubarbError('not_joined', `Room ${this.id} was left.`));
  }

  /** Ours among these need no more sending. @param {Entry[]} entries */
  #settleOwn(entries) {
    const { userId } = this.#port.me();
    this.#sender.delivered(entries.filter((entry) => entry.userId === userId));
  }

  /** @param {Outgoing} entry @param {Ack} [ack] */
  #sent(entry, ack) {
    const put = ack && this.#timeline.confirm(this.#asEntry(entry, ack.messageId));
    this.#outgoing(entry, true, put?.message);
    if (put?.kind === 'changed') this.#emit('changed', { message: put.message });
  }

  /** What the room will see of it. @param {Outgoing} entry @param {number} messageId @returns {Entry} */
  #asEntry({ kind, target, clientId, message }, messageId) {
    const { userId, username } = this.#port.me();
    const timestamp = new Date(messageId / 1000).toISOString();
    const change = kind === 'edit' ? { edits: target } : kind === 'delete' ? { deletes: target } : {};
    return { messageId, prev: 0, timestamp, userId, username, clientId, message, ...change };
  }

  /** @param {Outgoing} entry @param {boolean} [done] @param {Message} [message] */
  #outgoing(entry, done = false, message = undefined) {
    this.#port.save();
    this.#emit('outgoing', { entry, done, message });
  }

  /** To who listens to this room, and to who listens to all. @param {string} name @param {object} [detail] */
  #emit(name, detail) {
    const event = { room: this, ...detail };
    this._emit(name, event);
    this.#port.emit(name, event);
  }
}
