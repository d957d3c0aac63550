/** The list of joined rooms, with unread counts; joining by name, leaving; the drawer on a phone. */

import { isRoomId } from './store.js';

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

/**
 * @typedef {object} Hooks
 * @property {(room: string) => void} onOpen
 * @property {(room: string) => void} onLeave
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

  /**
   * @param {{ id: string, unread: number, refused: boolean }[]} rooms
   * @param {string} current
   */
  show(rooms, current) {
    const list = $('#rooms');
    const items = new Map([...list.children].map((item) => [item.dataset.room, item]));
    for (const { id, unread, refused } of rooms) {
      const item = items.get(id) ?? list.appendChild(this.#item(id));
      items.delete(id);
      const link = item.querySelector('a');
      if (id === current) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
      item.classList.toggle('refused', refused);
      const badge = item.querySelector('.unread');
      badge.hidden = !unread;
      badge.textContent = unread > 99 ? '99+' : String(unread);
      badge.setAttribute('aria-label', `${unread} unread`);
    }
    items.forEach((item) => item.remove());
    $('#unread-elsewhere').hidden = !rooms.some(({ id, unread }) => unread && id !== current);
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
