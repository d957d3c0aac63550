/** Bulk changes: how far each has come, and a button to stop it. */

import { post } from '../api.js';
import { doing, sure } from '../ask.js';
import { button, h, nothing } from '../dom.js';
import { ago, count } from '../format.js';

const VERBS = { retry: 'Replay', discard: 'Discard' };
const STATES = { running: 'under way', done: 'done', stopped: 'stopped', failed: 'failed', lost: 'lost with its server' };

/** @param {any[]} bulks @param {number} now */
export function bulkList(bulks, now) {
  if (!bulks.length) return nothing('No bulk change lately.');
  return h('ul', { class: 'bulks' }, bulks.map((one) => bulk(one, now)));
}

/** @param {any} one @param {number} now */
function bulk(one, now) {
  const isRunning = one.state === 'running';
  const verb = VERBS[/** @type {keyof typeof VERBS} */ (one.fate)];
  const most = Math.max(one.dead, one.seen, 1);
  // It reads somewhat ahead of what it changes.
  const far = one.state === 'done' ? most : Object.keys(one.filter).length ? one.seen : one.changed;
  return h('li', { 'data-key': one.id, 'data-state': one.state },
    h('p', {}, h('b', {}, `${verb} of ${describe(one.filter)}`), one.rate ? `, ${count(one.rate)} a second at most` : ''),
    h('p', { class: 'soft' }, `by ${one.by}, ${ago(one.begun_ms, now)}: ${STATES[/** @type {keyof typeof STATES} */ (one.state)]}${one.why ? ` (${one.why})` : ''}`),
    h('p', {}, h('progress', { max: most, value: far, 'aria-label': verb }), ` ${count(one.changed)} changed, ${count(one.seen)} of about ${count(one.dead)} looked at`),
    isRunning ? button('Stop', () => stop(one)) : null,
    one.state === 'stopped' || one.state === 'lost' || one.state === 'failed' ? button('Go on', () => goOn(one)) : null);
}

/** @param {any} one */
async function stop(one) {
  await doing(async () => {
    const { changed } = await post('bulks/stop', { id: one.id });
    return changed ? 'It stops within a second or two.' : 'It had ended before.';
  });
}

/** Where it was cut off. @param {any} one */
async function goOn(one) {
  const verb = VERBS[/** @type {keyof typeof VERBS} */ (one.fate)];
  const text = one.fate === 'discard' ? 'What is discarded is gone for good.' : 'The jobs wait again, their attempts counted anew.';
  if (!(await sure(`${verb}: go on with ${describe(one.filter)}?`, text, 'Go on'))) return;
  await doing(async () => {
    const until = one.until_ms ? { before_ms: one.until_ms + 1 } : {};
    await post(`dead/${one.fate}`, { ...one.filter, ...(one.at_ms ? { since_ms: one.at_ms } : {}), ...until, all: true, rate: one.rate });
    return 'It goes on.';
  });
}

/** A filter in words. @param {any} filter */
export function describe(filter) {
  const parts = [];
  if (filter.task) parts.push(`of task ${filter.task}`);
  if (filter.queue) parts.push(`of queue ${filter.queue}`);
  if (filter.error) parts.push(`with “${filter.error}” in the error`);
  if (filter.group) parts.push(`of group ${filter.group}`);
  if (filter.since_ms) parts.push(`that died since ${new Date(filter.since_ms).toLocaleString('en-GB')}`);
  if (filter.before_ms) parts.push(`that died before ${new Date(filter.before_ms).toLocaleString('en-GB')}`);
  return parts.length ? `dead jobs ${parts.join(', ')}` : 'all dead jobs';
}
