/** Who is typing, per room. A sign lasts a few seconds, so a client that vanished leaves no ghost. */

import { listed } from './text.js';

const LASTS_MS = 5_000;

export class Typing {
  /** @type {Map<string, Map<string, { username: string, timer: any }>>} */ #rooms = new Map();
  #line = /** @type {HTMLElement} */ (document.querySelector('#typing'));
  #room = '';

  /** @param {string} room */
  show(room) {
    this.#room = room;
    this.#draw();
  }

  /** @param {string} room @param {string} userId @param {string} username */
  started(room, userId, username) {
    this.stopped(room, userId);
    const people = this.#rooms.get(room) ?? new Map();
    this.#rooms.set(room, people);
    people.set(userId, { username, timer: setTimeout(() => this.stopped(room, userId), LASTS_MS) });
    this.#draw();
  }

  /** @param {string} room @param {string} userId */
  stopped(room, userId) {
    const people = this.#rooms.get(room);
    clearTimeout(people?.get(userId)?.timer);
    if (people?.delete(userId)) this.#draw();
  }

  #draw() {
    const people = [...(this.#rooms.get(this.#room)?.values() ?? [])];
    const names = people.map(({ username }) => username);
    this.#line.textContent = names.length ? `${listed(names)} ${names.length > 1 ? 'are' : 'is'} typing` : '';
    this.#line.classList.toggle('on', names.length > 0);
  }
}
