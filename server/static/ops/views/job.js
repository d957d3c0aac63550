/** One job's whole story: where it is and why, what it is to do, what happened to it, its family. */

import { get } from '../api.js';
import { button, cell, h, nothing, numeric, part, table } from '../dom.js';
import { ago, count, many, moment, span } from '../format.js';
import { changeJobs } from '../parts/jobs.js';

const EVENTS = { failed: 'Failed', buried: 'Died', worker_died: 'Its worker died', group_failed: 'Children died', refused: 'Refused', revived: 'Retried by hand' };

/** @param {any} it */
export default function job({ id, live, every, redraw }) {
  /** @type {any} */
  let story = null;
  /** @type {any} */
  let family = null;
  /** @type {string | null} */
  let wrong = null;
  let toldAt = 0;
  async function load() {
    try {
      const told = await get(`jobs/${encodeURIComponent(id)}`);
      const isMaster = told.job?.group || told.why?.reason === 'group_open';
      // Both at once, so that no half of it is shown.
      family = isMaster ? await get(`jobs/${encodeURIComponent(id)}/children`) : null;
      story = told;
      wrong = null;
      toldAt = live.now;
    } catch (error) {
      wrong = /** @type {Error} */ (error).message;
    }
    redraw();
  }
  every(2000, load);

  const can = (/** @type {string} */ state) => [
    ['dead', 'scheduled', 'parked'].includes(state) ? button('Retry now', () => act('retry'), { class: 'button strong' }) : null,
    state === 'dead' ? null : button('Cancel', () => act('cancel'), { class: 'button danger' }),
    state === 'claimed' ? null : button('Discard', () => act('discard'), { class: 'button danger' }),
  ];
  /** @param {'retry' | 'discard' | 'cancel'} verb */
  async function act(verb) {
    if (await changeJobs(verb, [id])) await load();
  }

  function draw() {
    const head = [h('p', { class: 'crumb' }, h('a', { href: '#/jobs' }, 'Jobs')), h('h1', {}, id)];
    if (wrong) return [...head, h('p', { class: 'wrong', role: 'alert' }, wrong)];
    if (!story) return [...head, nothing('Loading')];
    const { why } = story;
    const told = h('div', { class: 'why', role: 'status', 'data-reason': why.reason }, h('p', {}, why.text), why.advice ? h('p', { class: 'soft' }, why.advice) : null);
    if (story.known !== 'job') return [...head, told, ended(story), family ? part('Group', tree(family, story)) : null];
    const one = story.job;
    const now = Math.max(toldAt, live.now);
    return [
      h('p', { class: 'crumb' }, h('a', { href: `#/jobs?state=${one.state}` }, 'Jobs'), ' / ', one.state),
      h('header', { class: 'job-head' }, h('h1', {}, id), h('span', { class: `mark state-${one.state.split(' ')[0]}` }, one.state === 'claimed' ? 'running' : one.state), h('p', { class: 'buttons' }, can(one.state))),
      told,
      part('What it is', facts(one, now)),
      part('Arguments', h('pre', { class: 'payload', tabindex: '0', 'aria-label': 'Arguments' }, one.unreadable ?? pretty(one.args))),
      one.progress ? part('Progress', progress(one.progress)) : null,
      part('What happened', history(one.history, now)),
      groups(one),
      family ? part('Children', tree(family, story)) : null,
    ];
  }
  return { title: id, draw };
}

/** @param {any} one @param {number} now */
function facts(one, now) {
  const time = (/** @type {number | null} */ ms) => (ms ? h('span', { title: moment(ms) }, `${moment(ms)} (${ago(ms, now)})`) : null);
  const link = (/** @type {string} */ to) => h('a', { href: `#/job/${encodeURIComponent(to)}` }, to);
  const all = [
    ['Task', one.task ?? 'cannot be read'],
    ['Queue', one.queue],
    ['Attempts', `${count(one.attempts)}${one.max_attempts ? ` of ${count(one.max_attempts)}` : ''}${one.deaths ? `, ${many(one.deaths, 'worker')} died with it` : ''}`],
    ['Enqueued', time(one.enqueued_ms)],
    ['Waiting since', time(one.waiting_since_ms)],
    ['Before it in line', one.ahead === null || one.ahead === undefined ? null : count(one.ahead)],
    ['Due', time(one.due_ms)],
    ['Parked', time(one.parked_ms)],
    ['Died', time(one.buried_ms)],
    ['Runs on', one.claim ? `${one.claim.info.host} · ${one.claim.info.pid}, for ${span(now - one.claim.claimed_ms)}` : null],
    ['Lane', one.lane ? `${one.lane.lane}: ${count(one.lane.in_flight)} of ${count(one.lane.width)} in flight, ${count(one.lane.waiting)} in line${one.lane.ahead === null ? '' : `, ${count(one.lane.ahead)} before it`}` : null],
    ['Unique', one.unique ? JSON.stringify(one.unique) : null],
    ['Version of its arguments', one.version > 1 ? one.version : null],
    ['Tick', time(one.tick_ms)],
    ['Child of', one.child_of ? link(one.child_of.master) : null],
    ['Follows the group of', one.follows ? link(one.follows.master) : null],
    ['Trace', one.trace ? h('code', {}, one.trace) : null],
  ];
  return h('dl', { class: 'facts' }, all.filter(([, value]) => value !== null && value !== undefined).map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value))));
}

/** @param {any} value */
const pretty = (value) => JSON.stringify(value, null, 2) ?? '';

/** What a job tells of itself: a bar where it has a part and a whole, the text in any case. @param {any} told */
function progress(told) {
  const numbers = told && typeof told === 'object' ? [told.done ?? told.current ?? told.sent, told.total ?? told.of] : [];
  const isBar = numbers.every((n) => typeof n === 'number') && numbers.length === 2;
  return h('div', {}, isBar ? h('progress', { max: numbers[1], value: numbers[0], 'aria-label': 'Progress' }) : null, h('pre', { class: 'payload' }, pretty(told)));
}

/** @param {any[]} entries @param {number} now */
function history(entries, now) {
  if (!entries.length) return nothing('Nothing went wrong so far.');
  const rows = [...entries].reverse().map((entry) => h('tr', {},
    h('td', { title: moment(entry.at_ms) }, ago(entry.at_ms, now)),
    h('td', {}, EVENTS[/** @type {keyof typeof EVENTS} */ (entry.event)] ?? entry.event),
    cell(entry.attempt ?? '–'),
    h('td', { class: 'error' }, entry.error ?? '–', entry.retry_in_ms ? h('small', {}, ` tried again after ${span(entry.retry_in_ms)}`) : null),
    h('td', {}, entry.worker ? h('code', { title: entry.worker }, entry.worker.slice(0, 8)) : '–')));
  return table('What happened', ['When', 'What', numeric('Attempt'), 'Why', 'Worker'], rows);
}

/** @param {any} one */
function groups(one) {
  const { flow } = one;
  if (!flow) return null;
  const steps = [['Then', flow.then], ['If it fails', flow.or_else]].filter(([, name]) => name);
  const within = flow.within ? h('p', {}, `Part ${count(flow.within.part)} of ${count(flow.within.parts)}: ${count(flow.within.left)} have not ended, ${count(flow.within.failed)} failed.`, flow.within.then ? ` Then ${flow.within.then}.` : '') : null;
  return part('Flow', h('p', {}, `Step ${count(flow.step)} of ${count(flow.steps)} of flow ${flow.flow}; ${many(flow.jobs, 'job')} of it are not gone.`), within,
    h('ol', { class: 'chain' }, h('li', {}, h('b', {}, one.task)), steps.map(([when, name]) => h('li', {}, `${when}: `, name))));
}

/** The master, its children, what follows: as a tree. @param {any} family @param {any} story */
function tree(family, story) {
  const { group, left, failed } = family;
  const done = Math.max(0, group.total - group.left - group.failed);
  const child = (/** @type {any} */ one) => h('li', { 'data-key': one.id, 'data-state': one.state ?? 'ended' },
    h('a', { href: `#/job/${encodeURIComponent(one.id)}` }, one.id), ' ', h('span', {}, one.task ?? ''), ' ', h('span', { class: 'soft' }, one.state ? (one.state === 'claimed' ? 'running' : one.state) : ''),
    one.progress ? [' ', h('code', {}, JSON.stringify(one.progress))] : null);
  return h('div', { class: 'group' },
    h('p', {}, h('progress', { max: Math.max(1, group.total), value: group.total - group.left, 'aria-label': 'Children that have settled' }),
      ` ${count(group.total - group.left)} of ${many(group.total, 'child', 'children')} settled: ${count(done)} done, ${count(group.failed)} failed, ${count(group.left)} to go${group.sealed ? '' : '; more may be named'}`),
    h('ul', { class: 'tree' },
      h('li', {}, h('b', {}, group.master), ' ', story.job?.task ?? '',
        h('ul', {},
          failed.map(([id, reason]) => h('li', { 'data-key': `f-${id}`, 'data-state': 'dead' }, h('a', { href: `#/job/${encodeURIComponent(id)}` }, id), ' ', h('span', { class: 'error' }, reason))),
          left.map(child),
          family.next ? h('li', { class: 'soft' }, `and others that have not settled: ${count(group.left)} in all`) : null,
          done > 0 ? h('li', { 'data-state': 'done' }, `${many(done, 'child', 'children')} done`) : null)),
      h('li', { 'data-state': 'waiting' }, h('span', { class: 'soft' }, group.policy === 'fail' && group.failed > 0 ? 'what follows will not run: a child died' : 'what follows, when all have settled'))));
}

/** @param {any} story */
function ended(story) {
  if (story.known === 'never') return story.newest ? h('p', {}, 'The newest of its kind is ', h('a', { href: `#/job/${encodeURIComponent(story.newest)}` }, story.newest), '.') : null;
  if (story.known === 'finished') return null;
  return [
    h('p', {}, `It ended: ${story.outcome}.`),
    story.reason ? h('p', { class: 'error' }, story.reason) : null,
    story.output !== undefined ? part('What it gave back', h('pre', { class: 'payload', tabindex: '0' }, pretty(story.output))) : null,
  ];
}
