/**
 * What one room's person has written and the server has not acknowledged. Messages, edits and
 * deletions go one at a time, in the order they were written, so that a refused one is never
 * overtaken; each under its own client id, so that a resend is not a double.
 */

import { quietly, RhubarbError } from './error.js';
import { jitter } from './link.js';
import { ulid } from './ulid.js';

/** @typedef {import('./timeline.js').Entry} Entry */

/**
 * @typedef {object} Outgoing
 * @property {string} clientId
 * @property {'message' | 'edit' | 'delete'} kind
 * @property {string} message      the text; empty for a deletion
 * @property {number} [target]     the message that is edited or deleted
 * @property {'redis' | 'db'} ack  how safe it must be to count as sent
 * @property {number} writtenAt    ms since 1970
 * @property {'queued' | 'sent' | 'failed'} state
 * @property {boolean} [seen]      it is in the room; only its `db` acknowledgement is awaited
 * @property {number} tries        how often it was sent without any answer
 * @property {string} [error]      why it failed, for people
 * @property {string} [code]       and for programs
 *
 * @typedef {object} Ack
 * @property {number} messageId
 * @property {string} clientId
 * @property {boolean} duplicate   it had arrived before
 * @property {boolean} [archived]  it is in the archive
 *
 * @typedef {object} Port
 * @property {() => boolean} isReady  whether the room takes messages now
 * @property {import('./client.js').Ask} ask
 * @property {(ms: number, act: () => void) => void} later  unless the connection ends before
 * @property {() => number} space  how many more may wait
 * @property {(entry: Outgoing) => void} changed
 * @property {(entry: Outgoing, ack: Ack | undefined) => void} done  acknowledged, or dropped
 */

/** What met this many lost connections or silences may be their cause: ask the person. */
const TRIES_AT_MOST = 5;
/** The archive may be slow; the message itself is safe by then. */
const ARCHIVED_WITHIN_MS = 60_000;

export class Sender {
  /** @type {Outgoing[]} in the order they were written */ entries;
  /** @type {Port} */ #port;
  /** @type {Map<string, { resolve: (ack: Ack) => void, reject: (error: RhubarbError) => void }>} */ #promises = new Map();

  /** @param {Outgoing[]} left  by an earlier load of the page @param {Port} port */
  constructor(left, port) {
    this.entries = left;
    this.#port = port;
  }

  /**
   * Queues something, and sends it as soon as that can be.
   * @param {{ kind: Outgoing['kind'], message: string, target?: number, ack?: 'redis' | 'db', clientId?: string }} what
   * @returns {Promise<Ack>}
   */
  add({ kind, message, target, ack = 'redis', clientId = ulid() }) {
    if (this.#port.space() <= 0) {
      const error = new RhubarbError('queue_full', 'Too much waits to be sent already.');
      return quietly(Promise.reject(error));
    }
    /** @type {Outgoing} */
    const entry = { clientId, kind, message, target, ack, writtenAt: Date.now(), state: 'queued', tries: 0 };
    this.entries.push(entry);
    const promise = this.#promise(clientId);
    this.#port.changed(entry);
    this.pump();
    return promise;
  }

  /** Sends again what failed, under the same client id. @param {string} clientId @returns {Promise<Ack>} */
  retry(clientId) {
    const entry = this.#find(clientId);
    if (entry?.state !== 'failed') {
      return quietly(Promise.reject(new RhubarbError('not_found', 'Nothing that failed has this client id.')));
    }
    Object.assign(entry, { state: 'queued', tries: 0, error: undefined, code: undefined });
    const promise = this.#promise(clientId);
    this.#port.changed(entry);
    this.pump();
    return promise;
  }

  /** Drops what is unsent. @param {string} clientId */
  discard(clientId) {
    const entry = this.#take(clientId);
    if (!entry) return;
    this.#settle(clientId, new RhubarbError('discarded', 'It was dropped before it was sent.'));
    this.#port.done(entry, undefined);
    this.pump();
  }

  /** The room is left. */
  clear() {
    this.entries.slice().forEach(({ clientId }) => this.discard(clientId));
  }

  /** Sends what is next, if nothing that could be refused is under way. */
  pump() {
    if (!this.#port.isReady()) return;
    for (const entry of this.entries) {
      if (entry.state === 'queued') this.#send(entry);
      if (entry.state !== 'failed' && !entry.seen) return;
    }
  }

  /** The connection is gone: nothing is under way. */
  down() {
    for (const entry of this.entries.filter(({ state }) => state === 'sent')) this.#giveBack(entry, true);
  }

  /** Entries that are in the room; ours among them need no more sending. @param {Entry[]} entries */
  delivered(entries) {
    for (const { clientId, messageId } of entries) {
      const entry = this.#find(clientId);
      if (!entry) continue;
      if (entry.ack === 'db') entry.seen = true;
      else this.#acknowledged(entry, { clientId, messageId, duplicate: false });
    }
    this.pump();
  }

  /** @param {Outgoing} entry */
  #send(entry) {
    const { kind, clientId, message, target, ack } = entry;
    const payload = {
      clientId,
      ...(kind === 'message' ? {} : { messageId: target }),
      ...(kind === 'delete' ? {} : { message }),
      ...(ack === 'db' ? { ack } : {}),
    };
    const isAsked = this.#port.ask(kind, payload, {
      done: (answer) => this.#acknowledged(entry, { duplicate: false, ...answer, clientId }),
      refused: (error) => this.#refused(entry, error),
      silent: () => this.#giveBack(entry),
    }, ack === 'db' ? ARCHIVED_WITHIN_MS : undefined);
    if (!isAsked) return;
    entry.state = 'sent';
    entry.tries += 1;
    this.#port.changed(entry);
  }

  /** @param {Outgoing} entry @param {Ack} ack */
  #acknowledged(entry, ack) {
    if (!this.#take(entry.clientId)) return; // its delivery was faster
    this.#port.done(entry, ack);
    const promise = this.#promises.get(entry.clientId);
    this.#promises.delete(entry.clientId);
    promise?.resolve(ack);
    this.pump();
  }

  /** @param {Outgoing} entry @param {RhubarbError} error */
  #refused(entry, error) {
    if (!this.entries.includes(entry)) return;
    // It is in the room; only the archive is late.
    if (error.code === 'not_archived') entry.seen = true;
    if (!error.isPassing && !error.isAboutToken && !entry.seen) return this.#fail(entry, error);
    entry.tries = 0; // that was an answer
    this.#port.later(error.retryAfterMs ?? 500 + jitter(3), () => this.#requeue(entry));
    this.pump(); // what is seen holds nothing up
  }

  /** No answer. @param {Outgoing} entry @param {boolean} [isDown] */
  #giveBack(entry, isDown = false) {
    if (entry.state !== 'sent') return;
    if (entry.tries >= TRIES_AT_MOST && !entry.seen) {
      return this.#fail(entry, new RhubarbError('no_answer', 'The server did not answer.'));
    }
    if (!isDown) return this.#requeue(entry);
    entry.state = 'queued';
    this.#port.changed(entry);
  }

  /** @param {Outgoing} entry */
  #requeue(entry) {
    if (entry.state !== 'sent') return;
    entry.state = 'queued';
    this.pump();
  }

  /** @param {Outgoing} entry @param {RhubarbError} error */
  #fail(entry, error) {
    Object.assign(entry, { state: 'failed', error: error.message, code: error.code });
    this.#settle(entry.clientId, error);
    this.#port.changed(entry);
    this.pump();
  }

  /** @param {string} clientId @param {RhubarbError} error */
  #settle(clientId, error) {
    const promise = this.#promises.get(clientId);
    this.#promises.delete(clientId);
    promise?.reject(error);
  }

  /** @param {string} clientId @returns {Promise<Ack>} */
  #promise(clientId) {
    // Its failure is an event too, so it may go unawaited.
    return quietly(new Promise((resolve, reject) => this.#promises.set(clientId, { resolve, reject })));
  }

  /** @param {string} clientId */
  #find(clientId) {
    return this.entries.find((entry) => entry.clientId === clientId);
  }

  /** @param {string} clientId */
  #take(clientId) {
    const at = this.entries.findIndex((entry) => entry.clientId === clientId);
    return at < 0 ? undefined : this.entries.splice(at, 1)[0];
  }
}
