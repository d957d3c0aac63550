/** Workers: where each runs, when it last gave a sign of life, and what it runs. */

import { get } from '../api.js';
import { cell, h, nothing, numeric, table } from '../dom.js';
import { ago, count, span } from '../format.js';

/** @param {any} it */
export default function workers({ live, every, redraw }) {
  /** @type {any[]} */
  let claimed = [];
  let isMore = false;
  every(2000, async () => {
    const page = await get('jobs', { state: 'claimed', limit: 200 }).catch(() => null);
    if (page) [claimed, isMore] = [page.jobs, Boolean(page.next)];
    redraw();
  });
  function draw() {
    const { snapshot, now } = live;
    if (!snapshot) return [h('h1', {}, 'Workers'), nothing('Waiting for the first numbers.')];
    const { workers: all } = snapshot.status;
    if (!all.length) return [h('h1', {}, 'Workers'), nothing('No worker is known. Jobs wait until one is started.')];
    return [
      h('h1', {}, 'Workers'),
      all.map((/** @type {any} */ one) => card(one, claimed.filter((job) => job.worker === one.id), now)),
      isMore ? h('p', {}, 'More jobs run than are shown here: ', h('a', { href: '#/jobs?state=claimed' }, 'all of them')) : null,
    ];
  }
  return { title: 'Workers', draw };
}

/** @param {any} one @param {any[]} jobs @param {number} now */
function card(one, jobs, now) {
  const left = one.alive_until_ms - now;
  const isAlive = left > 0;
  const queues = Object.entries(one.queues).map(([name, n]) => `${name} ${n}`).join(', ');
  const rows = jobs.map((job) => h('tr', { 'data-key': job.id },
    h('th', { scope: 'row' }, h('a', { href: `#/job/${encodeURIComponent(job.id)}` }, job.id)),
    h('td', {}, job.task ?? 'cannot be read'), cell(job.claimed_ms ? span(now - job.claimed_ms) : '–'), cell(count(job.attempts))));
  return h('section', { class: isAlive ? 'card' : 'card silent', 'data-key': one.id, 'aria-label': `Worker on ${one.host}, process ${one.pid}` },
    h('header', {}, h('h2', {}, `${one.host || 'unknown host'} · ${one.pid}`),
      isAlive && one.stopping ? h('span', { class: 'mark' }, 'stopping: it finishes what it runs')
        : isAlive ? h('span', { class: 'mark good' }, 'beats') : h('span', { class: 'mark bad' }, `silent: its heartbeat ended ${ago(one.alive_until_ms, now)}`)),
    h('p', { class: 'soft' }, `Up ${one.started ? span(now - one.started * 1000) : '–'} · queues ${queues || '–'} · `, h('code', {}, one.id)),
    h('p', {}, h('meter', { min: 0, max: one.concurrency || 1, value: one.holds, 'aria-label': 'Slots used' }), ` ${count(one.holds)} of ${count(one.concurrency)} slots used`),
    rows.length ? table('What it runs', ['Job', 'Task', numeric('For'), numeric('Attempt')], rows) : nothing('It runs nothing at the moment.'));
}
