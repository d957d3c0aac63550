/**
 * One room as this client knows it: its messages in order, up to where there is no hole, and
 * what is still to be sent. Knows no socket; client.js feeds it.
 */

/**
 * @typedef {object} Message
 * @property {number} messageId  order, time in microseconds and position, all in one
 * @property {number} prev       the id before it in the room; 0 = first or unknown
 * @property {string} timestamp  ISO 8601
 * @property {string} userId
 * @property {string} username
 * @property {string} clientId   the sender's own id of it
 * @property {string} message    plain text
 *
 * @typedef {object} Outgoing    a message that has no acknowledgement yet
 * @property {string} clientId
 * @property {string} message
 * @property {number} writtenAt  ms since 1970
 * @property {'queued' | 'sent' | 'failed'} state
 * @property {number} tries      how often it was sent without any answer
 * @property {string} [error]    why it failed, for people
 *
 * @typedef {object} Joined      payload of a `joined` frame
 * @property {Message[]} messages
 * @property {boolean} complete
 * @property {boolean} more
 * @property {number} top
 * @property {number} members
 */

/** Held messages beyond this are dropped: the join that is under way returns them anyway. */
const HELD_AT_MOST = 1_000;

export class Room {
  /** @type {Message[]} oldest first */ messages = [];
  /** @type {Outgoing[]} in the order they were written */ outbox = [];
  /** @type {'idle' | 'joining' | 'joined' | 'refused'} */ state = 'idle';
  /** Why it was refused, for people. */ error = '';
  members = 0;
  /** Older messages can be had. */ more = false;
  /** False while the server still fetches the room's history. */ complete = true;
  /** Everything up to this id has been seen; 0 = nothing yet. */ cursor = 0;
  /** True while a person reads old messages: nothing may be trimmed. */ pinned = false;
  /** How often filling a hole was tried without a message in order since. */ mends = 0;
  /** Counts replacements of all messages: an answer for an earlier one is void. */ generation = 0;

  /** @type {Map<number, Message>} */ #known = new Map();
  /** @type {Message[]} arrived before the messages in front of them */ #held = [];

  /** @param {string} id */
  constructor(id) {
    this.id = id;
  }

  /**
   * Takes a live message.
   * @param {Message} message
   * @returns {'added' | 'changed' | 'known' | 'hole'} hole: something before it is missing
   */
  receive(message) {
    const { messageId, prev } = message;
    if (messageId > this.cursor) {
      if (prev && prev !== this.cursor) return 'hole';
      this.cursor = messageId;
      return this.#put(message);
    }
    return this.#known.has(messageId) ? this.#put(message) : 'known';
  }

  /** Keeps a message until what comes before it is here. @param {Message} message */
  hold(message) {
    if (this.#held.length >= HELD_AT_MOST) this.#held = [];
    this.#held.push(message);
  }

  /** Hands back what was held, in order. @returns {Message[]} */
  release() {
    const held = this.#held.sort((a, b) => a.messageId - b.messageId);
    this.#held = [];
    return held;
  }

  /**
   * Takes the answer to a join.
   * @param {Joined} page
   * @param {number} since  what was asked for; 0 = the newest page
   * @returns {{ kind: 'replaced' | 'delta' | 'stale', added: Message[] }}
   *   stale: the answer does not connect to what we have, ask for the newest page
   */
  fill(page, since) {
    const first = page.messages[0];
    const end = Math.max(page.top ?? since, page.messages.at(-1)?.messageId ?? 0);
    this.members = page.members;
    if (since && page.complete) {
      if (end < since || (first?.prev && first.prev !== since)) return { kind: 'stale', added: [] };
      this.cursor = end;
      return { kind: 'delta', added: page.messages.filter((m) => this.#put(m) === 'added') };
    }
    this.messages = [];
    this.#known.clear();
    this.generation += 1;
    this.cursor = end;
    this.more = page.more;
    // After a resume, `complete: false` spoke of the delta; this newest page needs nothing more.
    this.complete = page.complete || since > 0;
    page.messages.forEach((message) => this.#put(message));
    return { kind: 'replaced', added: this.messages };
  }

  /**
   * Takes a page of older messages.
   * @param {Message[]} messages @param {boolean} more
   * @returns {Message[]} those that are new here
   */
  prepend(messages, more) {
    this.more = more;
    return messages.filter((message) => this.#put(message) === 'added');
  }

  /**
   * Shows a message of ours that was acknowledged, before its broadcast arrives. Does not move
   * the cursor: messages in front of it may still be on their way.
   * @param {Message} message
   * @returns {boolean} false when it lies before the oldest message loaded
   */
  confirm(message) {
    const oldest = this.messages[0];
    if (oldest && this.more && message.messageId < oldest.messageId) return false;
    if (!this.#known.has(message.messageId)) this.#put(message);
    return true;
  }

  /** Removes the pending copy of a message. @param {string} clientId */
  settle(clientId) {
    const at = this.outbox.findIndex((entry) => entry.clientId === clientId);
    return at < 0 ? undefined : this.outbox.splice(at, 1)[0];
  }

  /** Forgets the oldest messages. @param {number} keep @returns {Message[]} those forgotten */
  trim(keep) {
    if (this.pinned || this.messages.length <= keep) return [];
    const gone = this.messages.splice(0, this.messages.length - keep);
    gone.forEach(({ messageId }) => this.#known.delete(messageId));
    this.more = true;
    return gone;
  }

  /** @param {Message} message @returns {'added' | 'changed' | 'known'} */
  #put(message) {
    const { messageId } = message;
    const before = this.#known.get(messageId);
    this.#known.set(messageId, message);
    let at = this.messages.length;
    while (at > 0 && this.messages[at - 1].messageId > messageId) at -= 1;
    if (before) {
      this.messages[at - 1] = message;
      return before.message === message.message ? 'known' : 'changed';
    }
    this.messages.splice(at, 0, message);
    return 'added';
  }
}
