/** Rooms: those that are dirty, have members or are premium; one by its name. */

import { get } from '../api.js';
import { button, cell, h, nothing, numeric, part, table } from '../dom.js';
import { ago, count, many } from '../format.js';

const SORTS = { dirty: 'Unflushed', occupied: 'With members', premium: 'Premium', all: 'All in Redis' };

/** @param {any} it */
export default function rooms({ query, live, every, redraw, set }) {
  const kind = (query.get('which') ?? '') in SORTS ? query.get('which') : 'dirty';
  /** @type {any} */
  let page = null;
  /** @type {any[]} */
  let more = [];
  /** @type {string | null} */
  let next = null;
  /** @type {string | null} */
  let wrong = null;
  // The walk over all keys is asked for once; the others are short.
  every(kind === 'all' ? 3_600_000 : 3000, async () => {
    try {
      page = await get('rooms', { which: kind });
      if (!more.length) next = page.next ?? null;
      wrong = null;
    } catch (error) {
      wrong = /** @type {Error} */ (error).message;
    }
    redraw();
  });
  async function goOn() {
    const told = await get('rooms', { which: kind, cursor: next });
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
      cell(count(one.members)), cell(count(one.messages)), cell(count(one.unflushed)),
      h('td', {}, one.unflushed_since_ms ? ago(one.unflushed_since_ms, now) : '–'),
      h('td', {}, one.warm ? 'warm' : 'cold')));
    return [
      h('h1', {}, 'Rooms'),
      h('form', { class: 'filters', role: 'search', 'aria-label': 'Find a room', onsubmit: open }, h('label', {}, h('span', {}, 'Room'), h('input', { name: 'room', placeholder: 'stage', spellcheck: 'false', autocapitalize: 'none' })), h('button', { class: 'button', type: 'submit' }, 'Show')),
      h('ul', { class: 'tabs' }, Object.entries(SORTS).map(([one, text]) => h('li', {}, h('a', { href: `#/rooms?which=${one}`, 'aria-current': one === kind ? 'true' : false }, text)))),
      overview(live.snapshot?.rooms, now),
      wrong ? h('p', { class: 'wrong', role: 'alert' }, wrong) : null,
      part(SORTS[/** @type {keyof typeof SORTS} */ (kind)], rows.length ? table('Rooms', ['Room', numeric('Members'), numeric('In Redis'), numeric('Unflushed'), 'Oldest unflushed', 'State'], rows) : nothing(!page ? 'Loading' : next ? 'None among those so far.' : 'None.')),
      next ? h('p', { class: 'buttons' }, button('More', goOn)) : null,
    ];
  }
  return { title: 'Rooms', draw };
}

/** @param {any} rooms @param {number} now */
function overview(rooms, now) {
  if (!rooms) return null;
  const since = rooms.unflushed_since_ms ? `, the oldest message ${ago(rooms.unflushed_since_ms, now)}` : '';
  const servers = rooms.servers.map((/** @type {any} */ one) => h('tr', { 'data-key': one.id }, h('td', {}, h('code', {}, one.id)), cell(count(one.rooms)), h('td', {}, one.alive_until_ms > now ? 'alive' : 'its lease has ended')));
  return [
    h('p', { class: 'soft' }, `${many(rooms.dirty, 'room')} with unflushed messages${since}; ${count(rooms.premium)} premium.`),
    servers.length ? h('details', {}, h('summary', {}, `${many(servers.length, 'server')}`), table('Servers', ['Server', numeric('Rooms with members'), 'Lease'], servers)) : null,
  ];
}
