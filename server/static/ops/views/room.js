/** One room: who is there, what is in Redis, what is in the archive. Never what was said. */

import { get, post } from '../api.js';
import { doing } from '../ask.js';
import { button, h, nothing, part, table, cell, numeric } from '../dom.js';
import { ago, count, moment } from '../format.js';

const OUTCOMES = { under_way: 'One is under way.', not_needed: 'There is nothing to do.' };

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
    const { outcome, job } = await post(`rooms/${verb}`, { room: id });
    await load();
    return job ? `Job ${job} was enqueued.` : OUTCOMES[/** @type {keyof typeof OUTCOMES} */ (outcome)];
  });
  function draw() {
    const head = [h('p', { class: 'crumb' }, h('a', { href: '#/rooms' }, 'Rooms')), h('h1', {}, id)];
    if (wrong) return [...head, h('p', { class: 'wrong', role: 'alert' }, wrong)];
    if (!told) return [...head, nothing('Loading')];
    const { now } = live;
    const message = (/** @type {number | null} */ us) => (us ? `${us} (${ago(us / 1000, now)})` : '–');
    const facts = [
      ['State', told.warm ? 'warm' : 'cold: the next who opens it has it brought back from the archive'],
      ['Members', `${count(told.members)}${told.fading ? `, and ${count(told.fading)} of servers that are gone` : ''}`],
      ['Messages in Redis', count(told.messages)],
      ['Newest message', message(told.top)],
      ['In the archive up to', message(told.watermark)],
      ['Not yet in the archive', count(told.unflushed)],
      ['Oldest of these', told.unflushed_since_ms ? `${moment(told.unflushed_since_ms)} (${ago(told.unflushed_since_ms, now)})` : '–'],
      ['Changes not yet there', count(told.changed)],
      ['Complete from', told.hydrated_from === 0 ? 'its first message on' : message(told.hydrated_from)],
      ['Flush under way', told.flushing ? `in queue ${told.flushing}${told.flush_again ? ', another follows' : ''}` : 'no'],
      ['Rehydration under way', told.hydrating ? `in queue ${told.hydrating}` : 'no'],
      ['Leaves Redis', told.expires_ms ? `${ago(told.expires_ms, now)}, if it stays idle` : told.messages ? 'not while it is used or unflushed' : 'it is not there'],
      ['Premium', told.premium_until_ms ? `until ${moment(told.premium_until_ms)}` : 'no'],
    ];
    const servers = Object.entries(told.members_by_server).map(([server, members]) => h('tr', { 'data-key': server }, h('td', {}, h('code', {}, server)), cell(count(members))));
    return [
      ...head,
      h('p', { class: 'buttons' }, button('Flush', () => ask('flush')), button('Rehydrate', () => ask('rehydrate'))),
      h('dl', { class: 'facts' }, facts.map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value)))),
      servers.length ? part('Members by server', table('Members by server', ['Server', numeric('Members')], servers)) : null,
    ];
  }
  return { title: id, draw };
}
