/** A list of jobs: filters that stand in the address, pages, and what can be done with those that are chosen. */

import { get, post } from '../api.js';
import { doing, sure } from '../ask.js';
import { button, cell, h, nothing, numeric, table } from '../dom.js';
import { ago, brief, count, many, moment, span } from '../format.js';

const FILTERS = ['queue', 'task', 'error', 'group', 'lane', 'since', 'before'];
const SPANS = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** What each state's times are called, and which field has them. */
const TIMES = {
  waiting: ['Waits for', 'waiting_since_ms'],
  laned: ['Waits for', 'waiting_since_ms'],
  scheduled: ['Due', 'due_ms'],
  claimed: ['Runs for', 'claimed_ms'],
  parked: ['Parked', 'parked_ms'],
  dead: ['Died', 'buried_ms'],
};

export class JobList {
  /** @type {any[]} */
  jobs = [];

  /** @type {string | null} */
  next = null;

  /** @type {string | null} */
  wrong = null;

  isLoading = true;

  /** @type {Set<string>} */
  chosen = new Set();

  /** @param {string} state @param {URLSearchParams} query @param {() => void} redraw */
  constructor(state, query, redraw) {
    this.state = state;
    this.query = query;
    this.redraw = redraw;
  }

  /** The filters as the calls take them. */
  get filter() {
    const given = Object.fromEntries(FILTERS.map((name) => [name, this.query.get(name)]).filter(([, value]) => value));
    const { since, before, ...rest } = given;
    return { ...rest, ...(since ? { since_ms: timeOf(since) } : {}), ...(before ? { before_ms: timeOf(before) } : {}) };
  }

  /** The filters of dead jobs. */
  get deadFilter() {
    const { lane, ...filter } = this.filter;
    return filter;
  }

  /** @param {boolean} [isMore] */
  async load(isMore = false) {
    this.isLoading = true;
    try {
      const page = await get('jobs', { state: this.state, ...this.filter, cursor: isMore ? this.next : null });
      const seen = new Set(isMore ? this.jobs.map((job) => job.id) : []);
      this.jobs = [...(isMore ? this.jobs : []), ...page.jobs.filter((/** @type {any} */ job) => !seen.has(job.id))];
      this.next = page.next ?? null;
      this.wrong = null;
      for (const id of this.chosen) if (!this.jobs.some((job) => job.id === id)) this.chosen.delete(id);
    } catch (error) {
      this.wrong = /** @type {Error} */ (error).message;
    }
    this.isLoading = false;
    this.redraw();
  }

  /** @param {any} job */
  #choose(job) {
    if (!this.chosen.delete(job.id)) this.chosen.add(job.id);
    this.redraw();
  }

  #chooseAll() {
    const all = this.jobs.every((job) => this.chosen.has(job.id));
    this.chosen = new Set(all ? [] : this.jobs.map((job) => job.id));
    this.redraw();
  }

  /** @param {number} now */
  draw(now) {
    if (this.wrong) return h('p', { class: 'wrong', role: 'alert' }, this.wrong);
    if (!this.jobs.length) return [nothing(this.isLoading ? 'Loading' : this.next ? 'None among the first few thousand.' : 'None.'), this.#more()];
    const [time, field] = TIMES[/** @type {keyof typeof TIMES} */ (this.state)];
    const rows = this.jobs.map((job) => this.#row(job, field, now));
    const all = this.jobs.every((job) => this.chosen.has(job.id));
    return [
      this.#actions(),
      table(`Jobs: ${this.state}`, [
        h('th', { scope: 'col', class: 'choose' }, check(all, () => this.#chooseAll(), 'Choose all that are shown')),
        'Job', 'Task', this.state === 'laned' ? 'Lane' : null, this.state === 'claimed' ? 'Worker' : null, numeric('Attempts'), time, this.state === 'dead' || this.state === 'scheduled' ? 'Last error' : null,
      ].filter(Boolean), rows),
      this.#more(),
    ];
  }

  /** @param {any} job @param {string} field @param {number} now */
  #row(job, field, now) {
    const at = job[field];
    const isPast = this.state === 'waiting' || this.state === 'laned' || this.state === 'claimed';
    return h('tr', { 'data-key': job.id, 'data-job': job.id, class: this.chosen.has(job.id) ? 'chosen' : false },
      h('td', { class: 'choose' }, check(this.chosen.has(job.id), () => this.#choose(job), `Choose ${job.id}`)),
      h('th', { scope: 'row' }, h('a', { href: `#/job/${encodeURIComponent(job.id)}` }, job.id), job.child_of ? h('small', {}, ` of ${job.child_of}`) : null),
      h('td', {}, job.task ?? 'cannot be read'),
      this.state === 'laned' ? h('td', {}, job.lane) : null,
      this.state === 'claimed' ? h('td', {}, h('code', {}, brief(job.worker, 9).replaceAll('"', ''))) : null,
      cell(count(job.attempts)),
      h('td', { title: moment(at) }, !at ? '–' : isPast ? span(now - at) : ago(at, now)),
      this.state === 'dead' || this.state === 'scheduled' ? h('td', { class: 'error' }, job.error ?? '–') : null);
  }

  #actions() {
    const n = this.chosen.size;
    const can = { retry: ['dead', 'scheduled', 'parked'], discard: ['waiting', 'laned', 'scheduled', 'parked', 'dead'], cancel: ['waiting', 'laned', 'scheduled', 'claimed', 'parked'] };
    const has = (/** @type {keyof typeof can} */ verb) => can[verb].includes(this.state);
    return h('p', { class: 'buttons chosen-actions' },
      h('span', { role: 'status' }, n ? `${count(n)} chosen` : 'Choose jobs to change them'),
      has('retry') ? button('Retry', () => this.#change('retry'), { disabled: !n }) : null,
      has('cancel') ? button('Cancel', () => this.#change('cancel'), { disabled: !n, class: 'button danger' }) : null,
      has('discard') ? button('Discard', () => this.#change('discard'), { disabled: !n, class: 'button danger' }) : null);
  }

  /** @param {'retry' | 'discard' | 'cancel'} verb */
  async #change(verb) {
    const ids = [...this.chosen];
    if (await changeJobs(verb, ids)) await this.load();
  }

  #more() {
    return this.next ? h('p', { class: 'buttons' }, button('More', () => this.load(true))) : null;
  }
}

const WORDS = {
  retry: ['Retry', 'They wait at once, their attempts counted anew.', 'retried'],
  discard: ['Discard', 'They are gone for good, and cannot be brought back. A child counts as failed in its group.', 'discarded'],
  cancel: ['Cancel', 'They do not run, or are stopped where they run, and are gone for good. A child counts as failed in its group.', 'cancelled'],
};

/** Asks and changes; whether something was done. @param {'retry' | 'discard' | 'cancel'} verb @param {string[]} ids */
export async function changeJobs(verb, ids) {
  const [name, text, done] = WORDS[verb];
  const what = ids.length === 1 ? ids[0] : many(ids.length, 'job');
  if (!(await sure(`${name} ${what}?`, text, ids.length === 1 ? name : `${name} ${count(ids.length)}`))) return false;
  return doing(async () => {
    let [changed, asked] = [0, 0];
    for (let at = 0; at < ids.length; at += 200) {
      const told = await post(`jobs/${verb}`, { ids: ids.slice(at, at + 200) });
      changed += told.changed;
      asked += told.asked ?? 0;
    }
    const others = ids.length - changed - asked;
    return [`${count(changed)} ${done}`, asked ? `${count(asked)} asked to stop` : '', others ? `${count(others)} were in another state` : ''].filter(Boolean).join(', ');
  });
}

/** @param {boolean} is @param {() => void} change @param {string} name */
function check(is, change, name) {
  const box = h('input', { type: 'checkbox', 'aria-label': name, 'data-on': is ? 'yes' : 'no', onchange: change });
  box.checked = is;
  return box;
}

/** A span before now (`2h`), or a time. @param {string} text */
function timeOf(text) {
  const found = /^(\d+)\s*([mhd])$/.exec(text.trim());
  const ms = found ? Date.now() - Number(found[1]) * SPANS[/** @type {keyof typeof SPANS} */ (found[2])] : Date.parse(text);
  return Number.isFinite(ms) ? Math.round(ms) : 'no time';
}

/**
 * The form of the filters. What is entered goes into the address, which opens the view anew.
 * @param {URLSearchParams} query @param {[string, string, string][]} fields  name, label, example
 * @param {(filters: Record<string, string | null>) => void} set @param {Record<string, string | null>} [keep]
 */
export function filterForm(query, fields, set, keep = {}) {
  const field = ([name, label, example]) => {
    if (name !== 'queue') return h('label', {}, h('span', {}, label), h('input', { name, value: query.get(name) ?? '', placeholder: example, spellcheck: 'false', autocapitalize: 'none' }));
    const options = ['', 'high', 'default', 'low'].map((queue) => h('option', { value: queue, selected: queue === (query.get('queue') ?? '') }, queue || 'all'));
    return h('label', {}, h('span', {}, label), h('select', { name }, options));
  };
  return h('form', {
    class: 'filters', role: 'search', 'aria-label': 'Filter jobs',
    onsubmit: (/** @type {any} */ event) => {
      event.preventDefault();
      const given = Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, String(value).trim() || null]));
      set({ ...keep, ...given });
    },
  }, fields.map(field), h('button', { class: 'button', type: 'submit' }, 'Filter'), query.size > Object.keys(keep).length ? button('Clear', () => set(keep)) : null);
}
