/** Keeps what is still to be sent over a reload of the page, by user and room. */

/** @typedef {import('./sender.js').Outgoing} Outgoing */

export class UnsentStore {
  /** @type {Storage | null | undefined} */ #storage;
  #key = '';
  /** Of rooms that are not joined again yet. @type {Record<string, Outgoing[]>} */ #left = {};

  /** @param {Storage | null} [storage] @param {string} [userId]  nobody else may send them */
  constructor(storage, userId = '') {
    this.#storage = storage;
    this.#key = `rhubarb.unsent.${userId}`;
    try {
      this.#left = JSON.parse(storage?.getItem(this.#key) ?? '{}') ?? {};
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

  /** @param {Iterable<{ id: string, outbox: Outgoing[] }>} rooms */
  save(rooms) {
    if (!this.#storage) return;
    const kept = { ...this.#left };
    for (const { id, outbox } of rooms) if (outbox.length) kept[id] = outbox;
    try {
      this.#storage.setItem(this.#key, JSON.stringify(kept));
    } catch {
      // A full storage costs the safety over a reload, not the message.
    }
  }
}
