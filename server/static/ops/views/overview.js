/** The whole at a glance: what is wrong first, then the numbers. */

import { get } from '../api.js';
import { chart, sparkline } from '../charts.js';
import { cell, h, nothing, numeric, part, table } from '../dom.js';
import { ago, byPriority, count, many, rate, short, shortSpan, span } from '../format.js';
import { rateOf } from '../live.js';
import { bulkList } from '../parts/bulks.js';

const DAYS = 3;

/** @param {any} it */
export default function overview({ live, every }) {
  /** @type {any[] | null} */
  let samples = null;
  let calls = 0;
  every(60_000, async () => {
    // A sample more makes no difference where there are many.
    calls += 1;
    if (samples && samples.length > 120 && calls % 5 !== 1) return;
    const since = Math.round(Date.now() - DAYS * 86_400_000);
    samples = await get('samples', { since_ms: since }).then((told) => told.samples, () => samples);
  });

  function draw() {
    const { snapshot, points, now } = live;
    if (!snapshot) return [h('h1', {}, 'Overview'), nothing('Waiting for the first numbers.')];
    const { status, bulks } = snapshot;
    return [
      h('h1', {}, 'Overview'),
      troubles(status, snapshot, now),
      tiles(status, snapshot, now),
      part('Queues', queues(status, live, points, now)),
      bulks.some((/** @type {any} */ one) => one.state === 'running') ? part('Under way', bulkList(bulks.filter((/** @type {any} */ one) => one.state === 'running'), now)) : null,
      part('The last minutes', minutes(points)),
      tasks(snapshot.tasks, live),
      days(samples),
    ];
  }
  return { title: 'Overview', draw };
}

/** What somebody should look at. @param {any} status @param {any} snapshot @param {number} now */
function troubles(status, snapshot, now) {
  const found = [];
  const alive = status.workers.filter((/** @type {any} */ one) => one.alive_until_ms > status.now_ms);
  for (const one of status.queues) {
    const served = alive.some((/** @type {any} */ worker) => worker.queues[one.queue] && !worker.stopping);
    if (one.paused) found.push([`Queue ${one.queue} is paused`, `for ${span(now - one.paused.since_ms)}, by ${one.paused.by || 'somebody'}`, '#/queues']);
    if (one.draining) found.push([`Queue ${one.queue} drains and takes no new jobs`, `for ${span(now - one.draining.since_ms)}, by ${one.draining.by || 'somebody'}`, '#/queues']);
    if (one.waiting > 0 && !served) found.push([`No worker serves queue ${one.queue}`, `${many(one.waiting, 'job')} wait${one.waiting === 1 ? 's' : ''}`, '#/workers']);
  }
  if (alive.length === 0) found.push(['No worker is alive', 'Jobs wait until one is started.', '#/workers']);
  const silent = status.workers.length - alive.length;
  if (silent > 0) found.push([`${many(silent, 'worker')} stopped beating`, 'What they held is given to others within seconds.', '#/workers']);
  if (status.parked > 0) found.push([`${many(status.parked, 'job')} parked`, 'No worker so far knows their task: deploy one that does, or discard them.', '#/jobs?state=parked']);
  if (status.dead > 0) found.push([`${many(status.dead, 'dead job')}`, 'They are kept until somebody replays or discards them.', '#/dead']);
  if (found.length === 0) return h('p', { class: 'well' }, h('span', { class: 'dot', 'aria-hidden': 'true' }), 'Nothing needs attention.');
  return h('ul', { class: 'troubles', 'aria-label': 'What needs attention' },
    found.map(([what, why, to]) => h('li', {}, h('a', { href: to }, what), ' ', h('span', { class: 'soft' }, why))));
}

/** @param {any} status @param {any} snapshot @param {number} now */
function tiles(status, snapshot, now) {
  const waiting = status.queues.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.waiting, 0);
  const slots = status.workers.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + (one.concurrency ?? 0), 0);
  const tile = (/** @type {string} */ name, /** @type {any} */ value, /** @type {any} */ note, /** @type {string} */ to, bad = false) =>
    h('a', { class: bad ? 'tile bad' : 'tile', href: to }, h('span', { class: 'name' }, name), h('b', {}, value), h('small', {}, note));
  return h('div', { class: 'tiles' },
    tile('Waiting', count(waiting), 'in all queues', '#/jobs?state=waiting'),
    tile('Running', count(status.claimed), `of ${count(slots)} slots`, '#/jobs?state=claimed'),
    tile('Scheduled', count(status.scheduled), status.next_due_ms ? `next ${ago(status.next_due_ms, now)}` : 'none is due', '#/schedule'),
    tile('Dead', count(status.dead), status.dead ? 'to be looked at' : 'none', '#/dead', status.dead > 0),
    tile('Parked', count(status.parked), 'no worker knows them', '#/jobs?state=parked', status.parked > 0),
    tile('In lanes', count(status.laned), many(status.lanes, 'lane'), '#/jobs?state=laned'),
    tile('Workers', count(status.workers.length), `${count(slots)} slots`, '#/workers', status.workers.length === 0),
    snapshot.rooms ? tile('Unflushed', count(snapshot.rooms.dirty), snapshot.rooms.unflushed_since_ms ? `rooms, the oldest for ${span(now - snapshot.rooms.unflushed_since_ms)}` : 'all is in the archive', '#/rooms') : null);
}

/** @param {any} status @param {any} live @param {any[]} points @param {number} now */
function queues(status, live, points, now) {
  const rows = status.queues.map((/** @type {any} */ one) => h('tr', { 'data-key': one.queue },
    h('th', { scope: 'row' }, h('a', { href: `#/jobs?state=waiting&queue=${one.queue}` }, one.queue), one.paused ? h('span', { class: 'mark' }, 'paused') : null, one.draining ? h('span', { class: 'mark' }, 'draining') : null),
    cell(count(one.waiting)),
    cell(one.waiting_since_ms ? span(now - one.waiting_since_ms) : '–'),
    cell(rate(live.rate(one.queue, 'enqueued'))),
    cell(rate(live.rate(one.queue, 'ended'))),
    h('td', { class: 'wide' }, sparkline(points.slice(-300).map((point) => point.queues[one.queue].waiting), `Jobs that wait in ${one.queue}`))));
  return table('Queues', ['Queue', numeric('Waiting'), numeric('Oldest', 'How long the next job has waited'), numeric('In', 'Enqueued a second'), numeric('Out', 'Ended a second'), 'Last minutes'], rows);
}

/** @param {any[]} points */
function minutes(points) {
  const to = points[points.length - 1]?.at_ms ?? Date.now();
  const from = Math.min(points[0]?.at_ms ?? to, to - 120_000);
  const names = byPriority(Object.keys(points[0]?.queues ?? {}));
  const clock = (/** @type {number} */ ms) => new Date(ms).toLocaleTimeString('en-GB');
  return h('div', { class: 'charts' },
    chart('Jobs that wait', names.map((name) => ({ name, points: points.map((point) => [point.at_ms, point.queues[name].waiting]) })), { format: short, from, to, clock }),
    chart('Jobs ended a second', names.map((name) => ({ name, points: rates(points, name, 'ended') })), { format: short, from, to, clock }));
}

/** @param {any[]} points @param {string} name @param {string} what @returns {[number, number | null][]} */
export function rates(points, name, what) {
  return points.map((point, at) => [point.at_ms, at === 0 ? null : rateOf(points.slice(Math.max(0, at - 5), at + 1), (one) => one.queues[name][what])]);
}

/** Totals by task. @param {any} totals @param {any} live */
function tasks(totals, live) {
  const all = Object.entries(totals ?? {});
  if (!all.length) return null;
  const rows = all.map(([name, one]) => {
    const attempts = one.done + one.retried + one.buried + one.cancelled;
    const firsts = one.done + one.buried + one.cancelled + one.expired;
    return h('tr', { 'data-key': name },
      h('th', { scope: 'row' }, name),
      cell(rate(live.taskRate(name))), cell(count(one.done)), cell(count(one.retried)),
      cell(one.buried ? h('a', { href: `#/dead?task=${encodeURIComponent(name)}` }, count(one.buried)) : '0'),
      cell(count(one.cancelled)), cell(count(one.expired)),
      cell(attempts ? span(one.ran_us / 1000 / attempts) : '–'), cell(firsts ? span(one.waited_ms / firsts) : '–'));
  });
  return part('Tasks', table('Tasks', ['Task', numeric('Now', 'Attempts that end in a second'), numeric('Done', 'Since ever, as what follows'), numeric('Retried', 'Attempts that failed, and after which another followed'), numeric('Died'), numeric('Cancelled'), numeric('Expired'), numeric('Mean run'), numeric('Mean wait', 'From when it could run to its first attempt')], rows));
}

/** @param {any[] | null} samples */
function days(samples) {
  if (!samples?.length) return null;
  const to = samples[samples.length - 1].at_ms;
  const from = Math.min(samples[0].at_ms, to - 3_600_000);
  const clock = (/** @type {number} */ ms) => new Date(ms).toLocaleString('en-GB', to - from > 86_400_000 ? { weekday: 'short', hour: '2-digit' } : { hour: '2-digit', minute: '2-digit' });
  const names = byPriority([...new Set(samples.flatMap((one) => Object.keys(one.values)).filter((name) => name.endsWith(':waiting')).map((name) => name.split(':')[0]))]);
  const of = (/** @type {string} */ what) => names.map((name) => ({ name, points: samples.map((one) => /** @type {[number, number | null]} */ ([one.at_ms, one.values[`${name}:${what}`] ?? null])) }));
  const ended = names.map((name) => ({ name, points: samples.map((one, at) => /** @type {[number, number | null]} */ ([one.at_ms, perMinute(samples[at - 1], one, name)])) }));
  return part('The last days', h('div', { class: 'charts' },
    chart('Jobs that wait', of('waiting'), { format: short, from, to, clock }),
    chart('Age of the oldest', of('age_ms'), { format: shortSpan, from, to, clock, least: 1000 }),
    chart('Jobs completed a minute', ended, { format: short, from, to, clock }),
    chart('Dead jobs', [{ name: 'dead', points: samples.map((one) => [one.at_ms, one.values.dead ?? null]) }], { format: short, from, to, clock })));
}

/** @param {any} before @param {any} one @param {string} name */
function perMinute(before, one, name) {
  const ended = (/** @type {any} */ sample) => sample?.values[`${name}:completed`];
  if (ended(before) === undefined || ended(one) === undefined) return null;
  const minutes = (one.at_ms - before.at_ms) / 60_000;
  return minutes > 0 && minutes < 60 ? Math.max(0, (ended(one) - ended(before)) / minutes) : null;
}
