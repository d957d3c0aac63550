/** Actions: who did what by hand, the latest first. */

import { get } from '../api.js';
import { button, h, nothing, table } from '../dom.js';
import { ago, moment } from '../format.js';

/** @param {any} it */
export default function actions({ live, every, redraw }) {
  /** @type {any[]} */
  let latest = [];
  /** @type {any[]} */
  let older = [];
  let isMore = true;
  /** @type {string | null} */
  let wrong = null;
  let isTold = false;
  every(3000, async () => {
    try {
      latest = (await get('actions', { limit: 50 })).actions;
      isTold = true;
      wrong = null;
    } catch (error) {
      wrong = /** @type {Error} */ (error).message;
    }
    redraw();
  });
  const all = () => {
    const seen = new Set(latest.map((one) => one.id));
    return [...latest, ...older.filter((one) => !seen.has(one.id))];
  };
  async function more() {
    const rows = all();
    const page = (await get('actions', { limit: 50, before: rows[rows.length - 1]?.id })).actions;
    older = [...older, ...rows.filter((one) => !older.some((old) => old.id === one.id)), ...page];
    older.sort((a, b) => b.at_ms - a.at_ms);
    isMore = page.length === 50;
    redraw();
  }
  function draw() {
    const rows = all().map((one) => h('tr', { 'data-key': one.id },
      h('td', { title: moment(one.at_ms) }, ago(one.at_ms, live.now)), h('td', {}, one.by || '–'), h('td', {}, one.did), h('td', { class: 'of' }, of(one.of))));
    return [
      h('h1', {}, 'Actions'),
      h('p', { class: 'soft' }, 'What people changed by hand, here and with queuectl.'),
      wrong ? h('p', { class: 'wrong', role: 'alert' }, wrong) : null,
      rows.length ? table('Actions', ['When', 'Who', 'Did', 'What'], rows) : nothing(isTold ? 'Nobody has changed anything yet.' : 'Loading'),
      rows.length >= 50 && isMore ? h('p', { class: 'buttons' }, button('More', more)) : null,
    ];
  }
  return { title: 'Actions', draw };
}

/** @param {any} what */
const of = (what) => (typeof what === 'string' ? what : JSON.stringify(what ?? ''));
