/**
 * What has been said in one room, as this client knows it: the messages in order, up to where there
 * is no hole. Edits and deletions are entries of the same order; they change the message they name and
 * are not listed themselves. Pure data: knows no socket.
 */

/**
 * @typedef {object} Message
 * @property {number} messageId   order, time in microseconds and position, all in one
 * @property {number} prev        the id before it in the room; 0 = first or unknown
 * @property {string} timestamp   ISO 8601
 * @property {string} userId
 * @property {string} username
 * @property {string} clientId    the sender's own id of it
 * @property {string} message     plain text
 * @property {number} [editedAt]  the id of the entry by which its author changed it last
 * @property {boolean} [deleted]  its author took it back; `message` is empty
 *
 * @typedef {Message & { edits?: number, deletes?: number }} Entry  as the server sends it
 *
 * @typedef {object} Page         payload of a `joined` frame
 * @property {Entry[]} messages   oldest first
 * @property {boolean} complete
 * @property {boolean} [partial]    only what is at hand; a `reset` follows when there is more
 * @property {boolean} more
 * @property {boolean} [continues]  the rest follows in `history` frames
 * @property {number} top
 *
 * @typedef {{ kind: 'added' | 'changed' | 'known', message: Message }} Put
 */

/** Held entries beyond this are dropped: the join that is under way returns them anyway. */
const HELD_AT_MOST = 1_000;

export class Timeline {
  /** @type {Message[]} oldest first */ messages = [];
  /** Older messages can be had. */ more = false;
  /** False while the server still fetches the room's history. */ complete = true;
  /** Every entry up to this id has been seen, or cannot be had now; 0 = nothing yet. */ cursor = 0;
  /** The oldest entry's id; what is older can be asked for. */ oldest = Number.MAX_SAFE_INTEGER;
  /** Counts replacements of all messages: an answer for an earlier one is void. */ generation = 0;

  /** @type {Map<number, Message>} */ #known = new Map();
  /** The last edit or deletion of each message. @type {Map<number, Entry>} */ #changes = new Map();
  /** @type {Entry[]} arrived before the entries in front of them */ #held = [];

  /**
   * Takes a live entry.
   * @param {Entry} entry
   * @returns {Put | 'hole'} hole: something before it is missing
   */
  receive(entry) {
    const { messageId, prev } = entry;
    if (messageId > this.cursor) {
      if (prev && prev !== this.cursor) return 'hole';
      this.cursor = messageId;
    } else if (!this.#known.has(messageId) && !targetOf(entry)) {
      return { kind: 'known', message: entry }; // older than what is loaded
    }
    return this.#put(entry);
  }

  /** Keeps an entry until what comes before it is here. @param {Entry} entry */
  hold(entry) {
    if (this.#held.length >= HELD_AT_MOST) this.#held = [];
    this.#held.push(entry);
  }

  /** Hands back what was held, in order. @returns {Entry[]} */
  release() {
    const held = this.#held.sort((a, b) => a.messageId - b.messageId);
    this.#held = [];
    return held;
  }

  /**
   * Takes the answer to a join, or its first part.
   * @param {Page} page
   * @param {number} since  what was asked for; 0 = the newest page
   * @returns {Put[] | 'replaced' | 'stale'}
   *   stale: the answer does not connect to what we have, ask for the newest page
   */
  fill(page, since) {
    const first = page.messages[0];
    const last = page.messages.at(-1)?.messageId ?? 0;
    // Of a history in parts, up to where it has come: it may end before its end.
    const end = page.continues ? last : Math.max(page.top ?? since, last);
    if (since && page.complete) {
      if ((page.top ?? since) < since || (first?.prev && first.prev !== since)) return 'stale';
      this.cursor = Math.max(this.cursor, end);
      return page.messages.map((entry) => this.#put(entry));
    }
    this.messages = [];
    this.#known.clear();
    this.#changes.clear();
    this.generation += 1;
    this.oldest = first?.messageId ?? Number.MAX_SAFE_INTEGER;
    this.cursor = end;
    this.more = page.more;
    // After a resume, `complete: false` speaks of what was missed: the newest page may be whole all the same.
    this.complete = !page.partial;
    page.messages.forEach((entry) => this.#put(entry));
    return 'replaced';
  }

  /** From where the room is to be joined again; 0 = anew, as something before the cursor may be missing. */
  get resumesFrom() {
    return this.complete ? this.cursor : 0;
  }

  /**
   * Takes the next part of a history.
   * @param {{ messages: Entry[] }} part
   * @returns {Put[] | 'hole'}
   */
  extend({ messages }) {
    const news = messages.filter(({ messageId }) => messageId > this.cursor);
    // In what is merely at hand there are holes, and asking again would not fill them.
    if (this.complete && news[0]?.prev && news[0].prev !== this.cursor) return 'hole';
    this.cursor = Math.max(this.cursor, news.at(-1)?.messageId ?? 0);
    return news.map((entry) => this.#put(entry));
  }

  /**
   * Takes a page of older messages.
   * @param {Entry[]} entries @param {boolean} more
   * @returns {Message[]} those that are new here
   */
  prepend(entries, more) {
    this.more = more;
    this.oldest = Math.min(this.oldest, entries[0]?.messageId ?? this.oldest);
    return added(entries.map((entry) => this.#put(entry)));
  }

  /**
   * Shows what we sent and was acknowledged, before it is delivered. Does not move the cursor:
   * entries in front of it may still be on their way.
   * @param {Entry} entry
   * @returns {Put | undefined} nothing when it lies before the oldest message loaded
   */
  confirm(entry) {
    if (this.more && entry.messageId < this.oldest) return undefined;
    const known = this.#known.get(entry.messageId);
    return known ? { kind: 'known', message: known } : this.#put(entry);
  }

  /** @param {number} messageId */
  get(messageId) {
    return this.#known.get(messageId);
  }

  /** Forgets the oldest messages. @param {number} keep @returns {Message[]} those forgotten */
  trim(keep) {
    if (this.messages.length <= keep) return [];
    const gone = this.messages.splice(0, this.messages.length - keep);
    for (const { messageId } of gone) {
      this.#known.delete(messageId);
      this.#changes.delete(messageId);
    }
    this.oldest = this.messages[0]?.messageId ?? this.oldest;
    this.more = true;
    return gone;
  }

  /** @param {Entry} entry @returns {Put} */
  #put(entry) {
    const target = targetOf(entry);
    if (!target) return this.#putMessage(entry);
    const last = this.#changes.get(target);
    const message = this.#known.get(target);
    // An edit that was edited again has no text any more; the later change is on its way.
    if (entry.editedAt) return { kind: 'known', message: message ?? entry };
    // Kept even if its message is not loaded: that may come from a page that was read before.
    if (!last || last.messageId < entry.messageId) this.#changes.set(target, entry);
    if (!message) return { kind: 'known', message: entry };
    return this.#replace(message, this.#changed(message));
  }

  /** @param {Message} message @returns {Put} */
  #putMessage(message) {
    const { messageId } = message;
    const before = this.#known.get(messageId);
    if (before) return this.#replace(before, this.#changed({ ...before, ...message }));
    const current = this.#changed(message);
    this.#known.set(messageId, current);
    this.messages.splice(this.#place(messageId), 0, current);
    return { kind: 'added', message: current };
  }

  /** A message after the last change of it that is known. @param {Message} message @returns {Message} */
  #changed(message) {
    const change = this.#changes.get(message.messageId);
    if (!change || message.deleted) return message;
    if (change.deletes) return { ...message, message: '', deleted: true };
    // A page may be newer than the change: it shows what came after.
    if ((message.editedAt ?? 0) > change.messageId) return message;
    return { ...message, message: change.message, editedAt: change.messageId };
  }

  /** @param {Message} before @param {Message} after @returns {Put} */
  #replace(before, after) {
    this.#known.set(after.messageId, after);
    this.messages[this.#place(after.messageId) - 1] = after;
    const isSame = before.message === after.message && before.deleted === after.deleted;
    return { kind: isSame ? 'known' : 'changed', message: after };
  }

  /** The index behind all messages up to this id; nearly always the end. @param {number} messageId */
  #place(messageId) {
    let at = this.messages.length;
    while (at > 0 && this.messages[at - 1].messageId > messageId) at -= 1;
    return at;
  }
}

/** Which message an entry changes. @param {Entry} entry */
const targetOf = (entry) => entry.edits || entry.deletes;

/** @param {Put[]} puts @param {Put['kind']} [kind] */
export const added = (puts, kind = 'added') => puts.filter((one) => one.kind === kind).map((one) => one.message);
