/**
 * The list of joined rooms, each with its last message and what is unread; joining by name, leaving;
 * the drawer on a phone.
 */

import { isRoomId } from './store.js';
import { shortTime } from './text.js';

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

/**
 * @typedef {object} Hooks
 * @property {(room: string) => void} onOpen
 * @property {(room: string) => void} onLeave
 *
 * @typedef {object} Line  a room as the list shows it
 * @property {string} id
 * @property {number} unread
 * @property {boolean} refused
 * @property {string} last    who said what, last
 * @property {number} lastAt  ms since 1970; 0 = never
 */

export class RoomList {
  #drawer = $('#drawer');
  #opener = $('#open-drawer');
  /** On a wide window the list is always there. */
  #narrow = matchMedia('(max-width: 760px)');

  /** @param {Hooks} hooks */
  constructor({ onOpen, onLeave }) {
    $('#rooms').addEventListener('click', (/** @type {Event} */ { target }) => {
      const item = /** @type {Element} */ (target).closest('li');
      if (/** @type {Element} */ (target).closest('.leave')) onLeave(item?.dataset.room ?? '');
      else if (/** @type {Element} */ (target).closest('a')) this.#toggle(false);
    });
    $('#room-form').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#join(onOpen);
    });
    $('#room-name').addEventListener('input', () => $('#room-name').setCustomValidity(''));
    this.#opener.addEventListener('click', () => this.#toggle(true));
    $('#close-drawer').addEventListener('click', () => this.#toggle(false));
    $('#backdrop').addEventListener('click', () => this.#toggle(false));
    this.#drawer.addEventListener('keydown', (/** @type {KeyboardEvent} */ { key }) => {
      if (key === 'Escape' && this.#narrow.matches) this.#toggle(false);
    });
    this.#narrow.addEventListener('change', () => this.#toggle(false));
    this.#toggle(false);
  }

  /** @param {Line[]} rooms @param {string} current */
  show(rooms, current) {
    const list = $('#rooms');
    const items = new Map([...list.children].map((item) => [item.dataset.room, item]));
    for (const line of rooms) {
      const item = items.get(line.id) ?? list.appendChild(this.#item(line.id));
      items.delete(line.id);
      this.#draw(item, line, line.id === current);
    }
    items.forEach((item) => item.remove());
    $('#unread-elsewhere').hidden = !rooms.some(({ id, unread }) => unread && id !== current);
  }

  /** To the field where a room is named. */
  focusJoin() {
    if (this.#narrow.matches) this.#toggle(true);
    $('#room-name').focus();
  }

  /** @param {HTMLElement} item @param {Line} line @param {boolean} isCurrent */
  #draw(item, { unread, refused, last, lastAt }, isCurrent) {
    const part = (/** @type {string} */ css) => /** @type {HTMLElement} */ (item.querySelector(css));
    if (isCurrent) part('a').setAttribute('aria-current', 'page');
    else part('a').removeAttribute('aria-current');
    item.classList.toggle('refused', refused);
    item.classList.toggle('has-news', unread > 0);
    part('.unread').hidden = !unread;
    say(part('.unread-count'), unread > 99 ? '99+' : String(unread));
    say(part('.last'), last);
    say(part('time'), lastAt ? shortTime(new Date(lastAt)) : '');
  }

  /** @param {string} id */
  #item(id) {
    const item = $('#room-template').content.firstElementChild.cloneNode(true);
    item.dataset.room = id;
    item.querySelector('a').href = `#${id}`;
    item.querySelector('.name').textContent = id;
    const leave = item.querySelector('.leave');
    leave.setAttribute('aria-label', `Leave ${id}`);
    leave.title = `Leave ${id}`;
    return item;
  }

  /** @param {(room: string) => void} onOpen */
  #join(onOpen) {
    const input = $('#room-name');
    const name = input.value.trim().replace(/^#/, '').replace(/\s+/g, '-');
    if (!name) return;
    if (!isRoomId(name)) {
      input.setCustomValidity('Letters, digits and _ . : - only, at most 64 of them.');
      input.reportValidity();
      return;
    }
    input.value = '';
    this.#toggle(false);
    onOpen(name);
  }

  /** @param {boolean} isOpen */
  #toggle(isOpen) {
    const covers = isOpen && this.#narrow.matches;
    const hadFocus = this.#drawer.contains(document.activeElement);
    this.#drawer.classList.toggle('open', covers);
    this.#drawer.inert = this.#narrow.matches && !isOpen;
    $('#room').inert = covers;
    $('#backdrop').hidden = !covers;
    this.#opener.setAttribute('aria-expanded', String(covers));
    if (covers) $('#close-drawer').focus();
    else if (hadFocus && this.#narrow.matches) this.#opener.focus();
  }
}

/** Touches the page only for a change. @param {Element} element @param {string} text */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
