/** Keeps what is still to be sent over a reload of the page. */

/** @typedef {import('./room.js').Outgoing} Outgoing */
/** @typedef {import('./room.js').Room} Room */

const KEY = 'rhubarb.outbox';

export class OutboxStore {
  /** @type {Storage | null} */ #storage;
  /** Of rooms that are not joined again yet. @type {Record<string, Outgoing[]>} */ #left = {};

  /** @param {Storage | null} storage */
  constructor(storage) {
    this.#storage = storage;
    try {
      this.#left = JSON.parse(storage?.getItem(KEY) ?? '{}');
    } catch {
      // nothing that can be read
    }
    // What was under way when the page ended is sent again; the server knows its client id.
    for (const entry of Object.values(this.#left).flat()) {
      if (entry.state === 'sent') entry.state = 'queued';
    }
  }

  /** Hands over what an earlier load of the page left for a room. @param {string} roomId */
  take(roomId) {
    const entries = this.#left[roomId] ?? [];
    delete this.#left[roomId];
    return entries;
  }

  /** @param {Iterable<Room>} rooms */
  save(rooms) {
    const kept = { ...this.#left };
    for (const { id, outbox } of rooms) if (outbox.length) kept[id] = outbox;
    try {
      this.#storage?.setItem(KEY, JSON.stringify(kept));
    } catch {
      // A full storage costs the safety over a reload, not the message.
    }
  }
}
