/** The schedule: periodic tasks, and jobs that wait for their time. */

import { get, post } from '../api.js';
import { doing, sure } from '../ask.js';
import { button, cell, h, nothing, numeric, part, table } from '../dom.js';
import { ago, count, moment, span } from '../format.js';
import { JobList } from '../parts/jobs.js';

const OUTCOMES = { done: 'Done', already: 'It was so before.', in_use: 'A worker knows it, and would bring it back: deploy without it first.', unknown: 'There is none of that name.' };

/** @param {any} it */
export default function schedule({ query, live, every, redraw }) {
  /** @type {any[] | null} */
  let entries = null;
  const list = new JobList('scheduled', query, redraw);
  list.load();
  async function load() {
    entries = await get('periodic').then((told) => told.entries, () => entries);
    redraw();
  }
  every(5000, load);

  /** @param {'pause' | 'resume' | 'forget'} verb @param {any} entry */
  async function change(verb, entry) {
    const [title, text] = {
      pause: [`Pause ${entry.name}?`, 'Its ticks are passed over until somebody resumes it.'],
      resume: [`Resume ${entry.name}?`, 'Its ticks are enqueued again from now on.'],
      forget: [`Forget ${entry.name}?`, 'No worker knows it any more; nothing is kept of it.'],
    }[verb];
    if (!(await sure(title, text, verb[0].toUpperCase() + verb.slice(1)))) return;
    await doing(async () => {
      const { outcome } = await post(`periodic/${verb}`, { name: entry.name });
      await load();
      return `${entry.name}: ${OUTCOMES[/** @type {keyof typeof OUTCOMES} */ (outcome)] ?? outcome}`;
    });
  }

  const row = (/** @type {any} */ entry, /** @type {number} */ now) => h('tr', { 'data-key': entry.name },
    h('th', { scope: 'row' }, entry.name, entry.paused ? h('span', { class: 'mark' }, 'paused') : null, entry.orphaned ? h('span', { class: 'mark bad', title: 'No worker knows it any more' }, 'orphaned') : null),
    h('td', {}, h('code', {}, timetable(entry.definition))),
    h('td', { title: moment(entry.next_ms) }, ago(entry.next_ms, now)),
    h('td', { title: moment(entry.last_ms) }, ago(entry.last_ms, now)),
    h('td', {}, entry.job ? h('a', { href: `#/job/${encodeURIComponent(entry.job)}` }, entry.job) : '–'),
    cell(count(entry.enqueued)), cell(count(entry.passed)),
    h('td', { class: 'buttons' }, entry.paused ? button('Resume', () => change('resume', entry), { 'aria-label': `Resume ${entry.name}` }) : button('Pause', () => change('pause', entry), { 'aria-label': `Pause ${entry.name}` }),
      entry.orphaned ? button('Forget', () => change('forget', entry), { class: 'button danger', 'aria-label': `Forget ${entry.name}` }) : null));

  const draw = () => [
    h('h1', {}, 'Schedule'),
    part('Periodic tasks', entries === null ? nothing('Loading') : entries.length === 0 ? nothing('No worker has told of a periodic task.')
      : table('Periodic tasks', ['Task', 'When', 'Next', 'Last', 'Latest job', numeric('Enqueued'), numeric('Passed over'), h('th', {}, h('span', { class: 'hidden' }, 'Change'))], (entries ?? []).map((entry) => row(entry, live.now)))),
    part('Jobs of a later time', list.draw(live.now)),
  ];
  return { title: 'Schedule', draw };
}

/** @param {any} definition */
function timetable(definition) {
  const when = definition?.timetable;
  if (!when) return '–';
  return when.cron ? `${when.cron} (${when.zone})` : `every ${span(when.every_ms)}`;
}
