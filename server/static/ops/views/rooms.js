/** Rooms: those that are dirty, have members or are premium; one by its name. */

import { get } from '../api.js';
import { button, cell, h, nothing, numeric, part, table } from '../dom.js';
import { ago, count } from '../format.js';

const SORTS = { dirty: 'With unflushed messages', members: 'With members', premium: 'Premium' };

/** @param {any} it */
export default function rooms({ query, live, every, redraw, set }) {
  const kind = query.get('kind') in SORTS ? query.get('kind') : 'dirty';
  /** @type {any} */
  let page = null;
  /** @type {any[]} */
  let more = [];
  /** @type {string | null} */
  let next = null;
  /** @type {string | null} */
  let wrong = null;
  every(3000, async () => {
    try {
      page = await get('rooms', { kind });
      if (!more.length) next = page.next ?? null;
      wrong = null;
    } catch (error) {
      wrong = /** @type {Error} */ (error).message;
    }
    redraw();
  });
  async function goOn() {
    const told = await get('rooms', { kind, cursor: next });
    more = [...more, ...told.rooms];
    next = told.next ?? null;
    redraw();
  }
  const open = (/** @type {any} */ event) => {
    event.preventDefault();
    const room = String(new FormData(event.target).get('room')).trim();
    if (room) location.hash = `#/room/${encodeURIComponent(room)}`;
  };
  function draw() {
    const { now } = live;
    const seen = new Set();
    const all = [...(page?.rooms ?? []), ...more].filter((one) => !seen.has(one.room) && seen.add(one.room));
    const rows = all.map((one) => h('tr', { 'data-key': one.room },
      h('th', { scope: 'row' }, h('a', { href: `#/room/${encodeURIComponent(one.room)}` }, one.room)),
      cell(count(one.members)), cell(count(one.log)), cell(count(one.unflushed)),
      h('td', {}, one.oldest_unflushed_ms ? ago(one.oldest_unflushed_ms, now) : '–'),
      h('td', {}, one.warm ? 'warm' : 'cold')));
    return [
      h('h1', {}, 'Rooms'),
      h('form', { class: 'filters', role: 'search', 'aria-label': 'Find a room', onsubmit: open }, h('label', {}, h('span', {}, 'Room'), h('input', { name: 'room', placeholder: 'stage', spellcheck: 'false', autocapitalize: 'none' })), h('button', { class: 'button', type: 'submit' }, 'Show')),
      h('ul', { class: 'tabs' }, Object.entries(SORTS).map(([one, text]) => h('li', {}, h('a', { href: `#/rooms?kind=${one}`, 'aria-current': one === kind ? 'true' : false }, text)))),
      wrong ? h('p', { class: 'wrong', role: 'alert' }, wrong) : null,
      part(SORTS[/** @type {keyof typeof SORTS} */ (kind)], rows.length ? table('Rooms', ['Room', numeric('Members'), numeric('In Redis'), numeric('Unflushed'), 'Oldest unflushed', 'State'], rows) : nothing(page ? 'None.' : 'Loading')),
      next ? h('p', { class: 'buttons' }, button('More', goOn)) : null,
    ];
  }
  return { title: 'Rooms', draw };
}
