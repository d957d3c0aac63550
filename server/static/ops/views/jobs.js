/** Jobs by state, with search; and the way to one by its id. */

import { h } from '../dom.js';
import { JobList, filterForm } from '../parts/jobs.js';

const STATES = ['waiting', 'laned', 'scheduled', 'claimed', 'parked', 'dead'];
const NAMES = { waiting: 'Waiting', laned: 'In lanes', scheduled: 'Scheduled', claimed: 'Running', parked: 'Parked', dead: 'Dead' };

/** @param {any} it */
export default function jobs({ query, live, redraw, set }) {
  const state = STATES.includes(query.get('state') ?? '') ? query.get('state') : 'waiting';
  const list = new JobList(state, query, redraw);
  list.load();
  /** @type {[string, string, string][]} */
  const fields = [['task', 'Task', 'all'], ['queue', 'Queue', ''], ['group', 'Child of', 'any']];
  if (state === 'laned') fields.push(['lane', 'Lane', 'all']);
  if (state === 'dead' || state === 'scheduled') fields.push(['error', 'Error contains', 'anything']);

  const open = (/** @type {any} */ event) => {
    event.preventDefault();
    const id = String(new FormData(event.target).get('id')).trim();
    if (id) location.hash = `#/job/${encodeURIComponent(id)}`;
  };
  const find = () => h('form', { class: 'filters', role: 'search', 'aria-label': 'Find a job by its id', onsubmit: open },
    h('label', {}, h('span', {}, 'Job id'), h('input', { name: 'id', placeholder: 'default-17', spellcheck: 'false', autocapitalize: 'none' })),
    h('button', { class: 'button', type: 'submit' }, 'Show'));

  const draw = () => [
    h('h1', {}, 'Jobs'),
    h('ul', { class: 'tabs' }, STATES.map((one) => h('li', {}, h('a', { href: `#/jobs?state=${one}`, 'aria-current': one === state ? 'true' : false }, NAMES[/** @type {keyof typeof NAMES} */ (one)])))),
    h('div', { class: 'searches' }, filterForm(query, fields, set, { state }), find()),
    list.draw(live.now),
  ];
  return { title: 'Jobs', draw };
}
