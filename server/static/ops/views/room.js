/** One room: who is there, what is in Redis, what is in the archive. Never what was said. */

import { get, post } from '../api.js';
import { doing } from '../ask.js';
import { button, h, nothing, part, table, cell, numeric } from '../dom.js';
import { ago, count, moment, span } from '../format.js';

/** @param {any} it */
export default function room({ id, live, every, redraw }) {
  /** @type {any} */
  let told = null;
  /** @type {string | null} */
  let wrong = null;
  async function load() {
    try {
      told = await get(`rooms/${encodeURIComponent(id)}`);
      wrong = null;
    } catch (error) {
      wrong = /** @type {Error} */ (error).message;
    }
    redraw();
  }
  every(2000, load);
  const ask = (/** @type {string} */ verb) => doing(async () => {
    const { outcome } = await post(`rooms/${verb}`, { room: id });
    await load();
    return outcome;
  });
  function draw() {
    const head = [h('p', { class: 'crumb' }, h('a', { href: '#/rooms' }, 'Rooms')), h('h1', {}, id)];
    if (wrong) return [...head, h('p', { class: 'wrong', role: 'alert' }, wrong)];
    if (!told) return [...head, nothing('Loading')];
    const { now } = live;
    const message = (/** @type {number | null} */ us) => (us ? `${us} (${ago(us / 1000, now)})` : '–');
    const facts = [
      ['State', told.warm ? 'warm' : 'cold: the next who opens it has it brought back from the archive'],
      ['Members', count(told.members)],
      ['Messages in Redis', count(told.log)],
      ['Newest message', message(told.top)],
      ['In the archive up to', message(told.watermark)],
      ['Not yet in the archive', count(told.unflushed)],
      ['Oldest unflushed', told.oldest_unflushed_ms ? `${moment(told.oldest_unflushed_ms)} (${ago(told.oldest_unflushed_ms, now)})` : '–'],
      ['Complete from', message(told.hydrated_from)],
      ['Flush under way', told.flushing ? 'yes' : 'no'],
      ['Rehydration under way', told.hydrating ? 'yes' : 'no'],
      ['Leaves Redis', told.expires_in_ms ? `in ${span(told.expires_in_ms)}` : 'not while it is used or dirty'],
      ['Premium', told.premium_until_ms ? `until ${moment(told.premium_until_ms)}` : 'no'],
    ];
    const servers = (told.servers ?? []).map((/** @type {any} */ one) => h('tr', { 'data-key': one.server }, h('td', {}, h('code', {}, one.server)), cell(count(one.members))));
    return [
      ...head,
      h('p', { class: 'buttons' }, button('Flush', () => ask('flush')), button('Rehydrate', () => ask('rehydrate'))),
      h('dl', { class: 'facts' }, facts.map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value)))),
      servers.length ? part('Members by server', table('Members by server', ['Server', numeric('Members')], servers)) : null,
    ];
  }
  return { title: id, draw };
}
