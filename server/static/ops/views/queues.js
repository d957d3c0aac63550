/** Queues: how each goes, and what stops and starts it; lanes below them. */

import { get, post } from '../api.js';
import { doing, sure } from '../ask.js';
import { chart } from '../charts.js';
import { button, cell, h, nothing, numeric, part, table } from '../dom.js';
import { ago, count, many, rate, short, span } from '../format.js';
import { rates } from './overview.js';

/** @param {any} it */
export default function queues({ live, every, redraw }) {
  /** @type {any[]} */
  let lanes = [];
  every(5000, async () => {
    lanes = await get('lanes', { limit: 100 }).catch(() => lanes);
    redraw();
  });
  function draw() {
    const { snapshot, now } = live;
    if (!snapshot) return [h('h1', {}, 'Queues'), nothing('Waiting for the first numbers.')];
    return [
      h('h1', {}, 'Queues'),
      snapshot.status.queues.map((/** @type {any} */ one) => card(one, snapshot.status, live, now)),
      part('Lanes', laneTable(lanes, now)),
    ];
  }
  return { title: 'Queues', draw };
}

/** @param {any} one @param {any} status @param {any} live @param {number} now */
function card(one, status, live, now) {
  const { points } = live;
  const name = one.queue;
  const serving = status.workers.filter((/** @type {any} */ worker) => worker.queues[name] && !worker.stopping && worker.alive_until_ms > status.now_ms);
  const slots = serving.reduce((/** @type {number} */ sum, /** @type {any} */ worker) => sum + worker.queues[name], 0);
  const to = points[points.length - 1]?.at_ms ?? now;
  const from = Math.min(points[0]?.at_ms ?? to, to - 120_000);
  const clock = (/** @type {number} */ ms) => new Date(ms).toLocaleTimeString('en-GB');
  const fact = (/** @type {string} */ term, /** @type {any} */ value) => h('div', {}, h('dt', {}, term), h('dd', {}, value));
  return h('section', { class: 'card', 'data-key': name, 'aria-label': `Queue ${name}` },
    h('header', {}, h('h2', {}, name),
      one.paused ? h('span', { class: 'mark' }, `paused by ${one.paused.by || 'somebody'}, ${ago(one.paused.since_ms, now)}`) : null,
      one.draining ? h('span', { class: 'mark' }, `draining by ${one.draining.by || 'somebody'}, ${ago(one.draining.since_ms, now)}`) : null,
      h('p', { class: 'buttons' },
        one.paused ? null : button('Pause', () => change('pause', one), { 'aria-label': `Pause ${name}` }),
        one.draining ? null : button('Drain', () => change('drain', one), { 'aria-label': `Drain ${name}` }),
        one.paused || one.draining ? button('Resume', () => change('resume', one), { class: 'button strong', 'aria-label': `Resume ${name}` }) : null)),
    h('dl', { class: 'facts' },
      fact('Waiting', h('a', { href: `#/jobs?state=waiting&queue=${name}` }, count(one.waiting))),
      fact('Oldest', one.waiting_since_ms ? span(now - one.waiting_since_ms) : '–'),
      fact('Next', one.oldest ? h('a', { href: `#/job/${encodeURIComponent(one.oldest)}` }, one.oldest) : '–'),
      fact('In', rate(live.rate(name, 'enqueued'))),
      fact('Out', rate(live.rate(name, 'ended'))),
      fact('Served by', serving.length ? `${many(serving.length, 'worker')}, up to ${count(slots)} at once` : h('b', { class: 'bad' }, 'no worker')),
      one.inbox ? fact('In its inbox', count(one.inbox)) : null),
    h('div', { class: 'charts' },
      chart('Waiting', [{ name: 'waiting', points: points.map((/** @type {any} */ point) => [point.at_ms, point.queues[name].waiting]) }], { format: short, from, to, clock }),
      chart('A second', [{ name: 'in', points: rates(points, name, 'enqueued') }, { name: 'out', points: rates(points, name, 'ended') }], { format: short, from, to, clock })));
}

/** @param {'pause' | 'drain' | 'resume'} verb @param {any} one */
async function change(verb, one) {
  const name = one.queue;
  const [title, text, action] = {
    pause: [`Pause queue ${name}?`, `All workers take nothing more from it until somebody resumes it. ${many(one.waiting, 'job')} wait${one.waiting === 1 ? 's' : ''} now, and new ones join the line. What runs goes on.`, 'Pause'],
    drain: [`Drain queue ${name}?`, `New jobs for it are refused until somebody resumes it: whoever enqueues gets an error. Workers finish the ${many(one.waiting, 'job')} that wait${one.waiting === 1 ? 's' : ''}.`, 'Drain'],
    resume: [`Resume queue ${name}?`, `${many(one.waiting, 'job')} wait${one.waiting === 1 ? 's' : ''}; workers begin at once, and new jobs are taken.`, 'Resume'],
  }[verb];
  if (!(await sure(title, text, action))) return;
  await doing(async () => {
    const { changed } = await post(`queues/${verb}`, { queue: name });
    return changed ? `Queue ${name}: ${verb} done` : 'It was so before.';
  });
}

/** @param {any[]} lanes @param {number} now */
function laneTable(lanes, now) {
  if (!lanes.length) return nothing('No lane has jobs in line or in flight.');
  const rows = lanes.map((lane) => h('tr', { 'data-key': lane.lane },
    h('th', { scope: 'row' }, h('a', { href: `#/jobs?state=laned&lane=${encodeURIComponent(lane.lane)}` }, lane.lane)),
    cell(count(lane.waiting)), cell(`${count(lane.in_flight)} of ${count(lane.width)}`),
    h('td', {}, lane.rate ? `${count(lane.rate.jobs)} in ${span(lane.rate.period_ms)}` : 'no rate'),
    h('td', {}, lane.next_ms && lane.next_ms > now ? ago(lane.next_ms, now) : '–')));
  return table('Lanes', ['Lane', numeric('In line'), numeric('In flight'), 'Rate', 'Its rate lets the next go'], rows);
}
