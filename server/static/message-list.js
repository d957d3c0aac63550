/**
 * The messages of the room that is shown: one item each, in order, the own unsent ones last.
 * Keeps the scroll position: at the bottom it follows, elsewhere it stays.
 */

import { confirm, describe, newItem, part, progress } from './message-item.js';
import { dayName, isSameDay } from './text.js';

/** @typedef {import('./message-item.js').Facts} Facts */
/** @typedef {import('./rhubarb.js').Message} Message */
/** @typedef {import('./rhubarb.js').Outgoing} Outgoing */
/** @typedef {import('./rhubarb.js').Room} Room */

const GROUP_MS = 5 * 60_000;
const NEAR_TOP_PX = 400;
const NEAR_BOTTOM_PX = 40;
/** Above the first unread message so much of what was read is shown. */
const CONTEXT_PX = 56;

/**
 * @typedef {object} Hooks
 * @property {() => { userId: string, username: string }} me
 * @property {() => void} onNearTop  older messages are wanted
 * @property {() => void} onScroll  it follows the newest message now, or has stopped to
 * @property {(clientId: string) => void} onRetry
 * @property {(clientId: string) => void} onDiscard
 */

export class MessageList {
  /** Whether the newest message is in view, and stays so. */ follows = true;

  #list = /** @type {HTMLOListElement} */ (document.querySelector('#messages'));
  #log = /** @type {HTMLElement} */ (document.querySelector('#log'));
  /** @type {Hooks} */ #hooks;
  /** @type {Map<number | string, HTMLLIElement>} by message id, pending ones by client id */ #items = new Map();
  /** @type {WeakMap<Element, Facts>} */ #facts = new WeakMap();
  #firstUnread = 0;
  #wasAway = false;
  #frame = 0;
  #height = 0;

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#list.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.#list.addEventListener('click', (event) => this.#clicked(/** @type {Element} */ (event.target)));
    // The composer grows, a phone's keyboard opens: what was in view stays in view.
    new ResizeObserver(() => {
      this.#height = this.#list.clientHeight;
      if (this.follows) this.toNewest();
    }).observe(this.#list);
  }

  get isEmpty() {
    return this.#items.size === 0;
  }

  /**
   * Shows a room afresh.
   * @param {Room} room @param {number | null} readUpTo  id of the last message read
   * @param {{ keepPlace?: boolean }} [options]  keepPlace: the same room, reloaded
   */
  show(room, readUpTo, { keepPlace = false } = {}) {
    const place = keepPlace && !this.follows ? this.#topMost() : null;
    this.#log.setAttribute('aria-busy', 'true'); // a page of history is not read aloud
    this.#items.forEach((item) => item.remove());
    this.#items.clear();
    const { userId } = this.#hooks.me();
    const unread = readUpTo === null ? undefined
      : room.messages.find((one) => one.messageId > readUpTo && one.userId !== userId);
    this.#firstUnread = unread?.messageId ?? 0;
    this.#append(room.messages.map((message) => this.#confirmed(message)));
    this.#append(room.outbox.filter(isUnseen).map((entry) => this.#pending(entry)));
    room.outbox.forEach((entry) => this.outgoing(entry));
    this.#log.setAttribute('aria-busy', 'false');

    const stays = place && this.#items.get(place.id);
    if (stays) this.#list.scrollTop += stays.getBoundingClientRect().top - place.top;
    else this.toNewest();
    if (!keepPlace) this.#toFirstUnread();
    this.checkTop();
  }

  /**
   * Adds live messages, each at its place.
   * @param {Message[]} messages
   * @param {{ isAway?: boolean }} [options]  isAway: nobody looks; mark where the news begin
   */
  add(messages, { isAway = false } = {}) {
    if (isAway && !this.#wasAway) this.#markNews(messages);
    this.#wasAway = isAway;
    for (const message of messages) {
      if (this.#items.has(message.messageId)) continue;
      this.#insert(this.#confirmed(message), message.messageId);
    }
    this.#followSoon();
  }

  /** Adds older messages on top; what is in view stays where it is. @param {Message[]} messages */
  addOlder(messages) {
    const next = this.#list.children[1];
    this.#log.setAttribute('aria-busy', 'true');
    this.keepPlace(() => {
      const items = messages.map((message) => this.#confirmed(message));
      this.#list.children[0].after(...items);
      items.forEach((item) => this.#decorate(item));
      this.#decorate(next);
    });
    this.#log.setAttribute('aria-busy', 'false');
    this.checkTop();
  }

  /** Changes something above what is in view, which does not move. @param {() => void} change */
  keepPlace(change) {
    const toBottom = this.#list.scrollHeight - this.#list.scrollTop;
    change();
    this.#list.scrollTop = this.#list.scrollHeight - toBottom;
  }

  /** @param {Message[]} messages */
  remove(messages) {
    for (const { messageId } of messages) {
      this.#items.get(messageId)?.remove();
      this.#items.delete(messageId);
    }
    this.#decorate(this.#list.children[1]);
  }

  /** A message has another text now. @param {Message} message */
  change(message) {
    const shown = this.#items.get(message.messageId);
    if (shown) this.#become(shown, message);
  }

  /** Shows the state of what we wrote and is not confirmed. @param {Outgoing} entry */
  outgoing(entry) {
    const shown = this.#items.get(entry.target ?? entry.clientId);
    if (shown) {
      progress(shown, entry);
      return this.#followSoon(); // it may need another line
    }
    if (!isUnseen(entry)) return;
    this.#append([this.#pending(entry)]);
    this.#followSoon();
  }

  /** Turns a pending copy into the confirmed message, the same item. @param {string} clientId @param {Message} [message] */
  confirm(clientId, message) {
    const shown = this.#items.get(clientId);
    if (!shown) return message && this.change(message); // a change of one that is listed by its id
    this.#items.delete(clientId);
    if (!message || this.#items.has(message.messageId)) return this.#removeItem(shown);
    const next = shown.nextElementSibling;
    this.#become(shown, message);
    this.#insert(shown, message.messageId);
    this.#decorate(next);
    this.#followSoon();
  }

  /** @param {string} clientId */
  discard(clientId) {
    this.#removeItem(this.#items.get(clientId));
    this.#items.delete(clientId);
  }

  /** To a message, for the keyboard. @param {number} messageId */
  focus(messageId) {
    this.#items.get(messageId)?.focus();
  }

  toNewest() {
    this.#list.scrollTop = this.#list.scrollHeight;
    if (this.follows) return;
    this.follows = true;
    this.#hooks.onScroll();
  }

  /** Asks for older messages if the top is near: also when all fits into the view. */
  checkTop() {
    if (this.#list.scrollTop < NEAR_TOP_PX) this.#hooks.onNearTop();
  }

  /** Where reading goes on, if that is not in view: the rest is below. */
  #toFirstUnread() {
    const first = this.#items.get(this.#firstUnread);
    const edge = this.#list.getBoundingClientRect().top;
    if (!first || first.getBoundingClientRect().top >= edge) return;
    this.#list.scrollTop -= edge - first.getBoundingClientRect().top + CONTEXT_PX;
    this.follows = false;
    this.#hooks.onScroll();
  }

  /** @param {Message[]} messages */
  #markNews(messages) {
    const marked = this.#items.get(this.#firstUnread);
    this.#firstUnread = messages.find(({ userId }) => userId !== this.#hooks.me().userId)?.messageId ?? 0;
    this.#decorate(marked);
  }

  /** @param {Message} message */
  #confirmed(message) {
    const shown = newItem();
    this.#become(shown, message);
    return shown;
  }

  /** @param {Outgoing} entry */
  #pending(entry) {
    const shown = newItem();
    this.#describe(shown, { ...this.#hooks.me(), at: new Date(entry.writtenAt) });
    this.#items.set(entry.clientId, shown);
    progress(shown, entry);
    return shown;
  }

  /** @param {HTMLLIElement} shown @param {Message} message */
  #become(shown, message) {
    const { messageId, userId, username, timestamp } = message;
    this.#items.set(messageId, shown);
    this.#describe(shown, { userId, username, at: new Date(timestamp ?? messageId / 1000) });
    confirm(shown, message, userId === this.#hooks.me().userId);
  }

  /** @param {HTMLLIElement} shown @param {Facts} facts */
  #describe(shown, facts) {
    this.#facts.set(shown, facts);
    describe(shown, facts, facts.userId === this.#hooks.me().userId);
  }

  /** @param {HTMLLIElement[]} items */
  #append(items) {
    this.#list.append(...items);
    items.forEach((item) => this.#decorate(item));
  }

  /** Puts a confirmed item where its id belongs; nearly always that is the end. @param {HTMLLIElement} item @param {number} id */
  #insert(item, id) {
    let before = this.#list.lastElementChild;
    while (before && before !== this.#list.firstElementChild) {
      const other = Number(/** @type {HTMLElement} */ (before).dataset.messageId ?? Infinity);
      if (before !== item && other < id) break;
      before = before.previousElementSibling;
    }
    if (before && before.nextElementSibling !== item) before.after(item);
    this.#decorate(item);
    this.#decorate(item.nextElementSibling);
  }

  /** Shows the day and the author only where they change. @param {Element | null | undefined} item */
  #decorate(item) {
    const facts = item && this.#facts.get(item);
    if (!item || !facts) return;
    const before = item.previousElementSibling && this.#facts.get(item.previousElementSibling);
    const isNewDay = !before || !isSameDay(before.at, facts.at);
    const isFirstUnread = Number(/** @type {HTMLElement} */ (item).dataset.messageId) === this.#firstUnread;
    part(item, '.day').hidden = !isNewDay;
    part(item, '.day span').textContent = dayName(facts.at);
    part(item, '.news').hidden = !isFirstUnread;
    item.classList.toggle('continues', !isNewDay && !isFirstUnread && before.userId === facts.userId
      && before.username === facts.username && facts.at.getTime() - before.at.getTime() < GROUP_MS);
  }

  /** @param {Element | undefined} item */
  #removeItem(item) {
    const next = item?.nextElementSibling;
    item?.remove();
    this.#decorate(next);
  }

  /** The first message in view, to find the place again. */
  #topMost() {
    const edge = this.#list.getBoundingClientRect().top;
    for (const [id, item] of this.#items) {
      const { top, bottom } = item.getBoundingClientRect();
      if (bottom > edge) return { id, top };
    }
    return null;
  }

  /** Once per frame, however many messages arrive in it. */
  #followSoon() {
    if (!this.follows || this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.follows) this.toNewest();
    });
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#list;
    if (clientHeight !== this.#height) return; // it grows or shrinks: the observer is told next
    const follows = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
    if (follows !== this.follows && !this.#frame) {
      this.follows = follows;
      this.#hooks.onScroll();
    }
    this.checkTop();
  }

  /** @param {Element} target */
  #clicked(target) {
    const clientId = /** @type {HTMLElement | null} */ (target.closest('li'))?.dataset.clientId;
    if (!clientId) return;
    if (target.closest('.retry')) this.#hooks.onRetry(clientId);
    if (target.closest('.discard')) this.#hooks.onDiscard(clientId);
  }
}

/** A message that the room does not show yet. @param {Outgoing} entry */
const isUnseen = (entry) => entry.kind === 'message' && !entry.seen;
