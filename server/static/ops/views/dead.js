/** Dead letters: why each died; a replay or a discard of those that are chosen, or of all that fit. */

import { post } from '../api.js';
import { doing, sure } from '../ask.js';
import { button, h, part } from '../dom.js';
import { many } from '../format.js';
import { bulkList, describe } from '../parts/bulks.js';
import { JobList, filterForm } from '../parts/jobs.js';

/** @type {[string, string, string][]} */
const FIELDS = [['task', 'Task', 'all'], ['queue', 'Queue', ''], ['error', 'Error contains', 'anything'], ['group', 'Child of', 'any'], ['since', 'Died since', '2h, or a time'], ['before', 'Died before', '30d, or a time']];

/** @param {any} it */
export default function dead({ query, live, redraw, set }) {
  const list = new JobList('dead', query, redraw);
  list.load();
  let seen = live.snapshot?.status.dead;

  /** @param {'retry' | 'discard'} fate @param {number | null} rate */
  async function all(fate, rate) {
    const filter = list.deadFilter;
    const known = live.snapshot?.status.dead ?? 0;
    const isAll = Object.keys(filter).length === 0;
    const how = isAll ? `That is ${many(known, 'job')}.` : `${many(known, 'job')} are dead in all; those that fit are found on the way.`;
    const words = fate === 'retry'
      ? [`Replay ${describe(filter)}?`, `${how} They wait again${rate ? `, ${rate} a second at most` : ', all at once'}, their attempts counted anew. It can be stopped.`, 'Replay']
      : [`Discard ${describe(filter)}?`, `${how} They are gone for good.`, 'Discard'];
    if (!(await sure(words[0], words[1], words[2]))) return;
    await doing(async () => {
      await post(`dead/${fate}`, { ...filter, ...(isAll ? { all: true } : {}), rate });
      return 'It has begun: see below.';
    });
  }

  function draw() {
    const { snapshot, now } = live;
    const n = snapshot?.status.dead;
    if (n !== undefined && n !== seen && !list.isLoading && list.chosen.size === 0 && list.jobs.length <= 50) {
      seen = n;
      list.load();
    }
    return [
      h('h1', {}, 'Dead letters'),
      h('p', { class: 'soft' }, n === undefined ? '' : `${many(n, 'job')} dead. They are kept with their arguments and their history until somebody replays or discards them.`),
      filterForm(query, FIELDS, set),
      h('form', {
        class: 'filters replay', 'aria-label': 'Replay or discard all that fit',
        onsubmit: (/** @type {any} */ event) => {
          event.preventDefault();
          const rate = Number(new FormData(event.target).get('rate'));
          all('retry', rate > 0 ? rate : null);
        },
      },
      h('label', {}, h('span', {}, 'Jobs a second'), h('input', { name: 'rate', type: 'number', min: '0.01', max: '100000', step: 'any', value: '50', placeholder: 'no bound' })),
      h('button', { class: 'button strong', type: 'submit', disabled: !n }, 'Replay all that fit'),
      button('Discard all that fit', () => all('discard', null), { class: 'button danger', disabled: !n })),
      list.draw(now),
      part('Bulk changes', bulkList(snapshot?.bulks ?? [], now)),
    ];
  }
  return { title: 'Dead letters', draw };
}
