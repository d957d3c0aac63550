/**
 * What the server tells every second, and how fresh it is. What is stale is never passed off as fresh: after
 * some seconds without a word the page says so.
 */

import { refusalOf } from './api.js';

/** Without a snapshot for so many ms, what is shown is stale. */
const STALE = 3500;
/** Without one for so many, the connection is made anew: it may be dead without a word. */
const DEAD = 15000;
/** One that was refused is tried again after so many ms, then after twice as many … */
const AGAIN = 1000;
const LATEST = 30000;
/** Points that are kept: as many as the server keeps. */
const POINTS = 600;
/** Totals by task are kept for so many seconds: workers tell of them every two or so. */
const RECENT = 15;

export class Live extends EventTarget {
  /** @type {any} */
  snapshot = null;

  /** @type {any[]} */
  points = [];

  /** @type {{at_ms: number, tasks: Record<string, any>}[]} */
  #totals = [];

  /** Why the server refuses to tell, if it does. @type {string | null} */
  why = null;

  #wait = AGAIN;
  #heardAt = 0;
  #openedAt = 0;
  #isAway = false;
  /** @type {EventSource | null} */
  #source = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #clock;

  open() {
    this.#source?.close();
    this.#openedAt = performance.now();
    const source = new EventSource('/ops/api/live');
    this.#source = source;
    source.addEventListener('recent', (event) => {
      this.points = JSON.parse(event.data);
    });
    source.addEventListener('snapshot', (event) => this.#hear(JSON.parse(event.data)));
    source.addEventListener('away', () => {
      this.#isAway = true;
      this.#tell();
    });
    source.addEventListener('error', () => {
      // A browser comes back by itself, unless it was refused.
      if (source.readyState === EventSource.CLOSED) this.#comeBack(source);
    });
    clearInterval(this.#clock);
    this.#clock = setInterval(() => {
      this.#tell();
      if (Math.min(this.silentFor, performance.now() - this.#openedAt) > DEAD && !this.#isAway) this.open();
    }, 1000);
  }

  /** @param {EventSource} source */
  async #comeBack(source) {
    const wait = this.#wait * (0.5 + Math.random());
    this.#wait = Math.min(this.#wait * 2, LATEST);
    const why = await refusalOf('live');
    if (source !== this.#source) return;
    this.why = why;
    this.#tell();
    setTimeout(() => {
      if (source === this.#source) this.open();
    }, wait);
  }

  close() {
    this.why = null;
    this.#wait = AGAIN;
    clearInterval(this.#clock);
    this.#source?.close();
    this.#source = null;
    this.snapshot = null;
    this.points = [];
    this.#totals = [];
  }

  /** Since when nothing fresh came, in ms. */
  get silentFor() {
    return performance.now() - (this.#heardAt || this.#openedAt);
  }

  /** @returns {'connecting' | 'fresh' | 'stale' | 'away'} */
  get state() {
    if (this.#isAway) return 'away';
    if (this.silentFor < STALE && this.snapshot) return 'fresh';
    if (this.silentFor < STALE && !this.why) return 'connecting';
    return 'stale';
  }

  /** The time by the server's Redis, as of now. */
  get now() {
    return this.snapshot ? this.snapshot.status.now_ms + (performance.now() - this.#heardAt) : Date.now();
  }

  /** How many of a queue came or ended in a second, over the last ten. @param {string} queue @param {string} what */
  rate(queue, what) {
    return rateOf(this.points.slice(-11), (point) => point.queues[queue]?.[what]);
  }

  /** How many attempts at a task end in a second, of late. @param {string} task */
  taskRate(task) {
    const ends = (/** @type {any} */ one) => (one ? one.done + one.retried + one.buried + one.cancelled + one.expired : 0);
    return rateOf(this.#totals, (point) => ends(point.tasks[task]));
  }

  /** @param {any} snapshot */
  #hear(snapshot) {
    this.#isAway = false;
    this.why = null;
    this.#wait = AGAIN;
    this.#heardAt = performance.now();
    this.snapshot = snapshot;
    const last = this.points[this.points.length - 1];
    if (!last || snapshot.point.at_ms > last.at_ms) this.points.push(snapshot.point);
    if (this.points.length > POINTS) this.points.shift();
    this.#totals.push({ at_ms: snapshot.status.now_ms, tasks: snapshot.tasks });
    if (this.#totals.length > RECENT) this.#totals.shift();
    this.dispatchEvent(new Event('snapshot'));
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event('freshness'));
  }
}

/**
 * By how much a total grew in a second, from the first of these points to the last; none over a gap.
 * @param {any[]} points @param {(point: any) => number} total
 */
export function rateOf(points, total) {
  const [first, last] = [points[0], points[points.length - 1]];
  if (!first || !last || last.at_ms <= first.at_ms) return null;
  const seconds = (last.at_ms - first.at_ms) / 1000;
  if (seconds > 60) return null;
  return Math.max(0, (total(last) - total(first)) / seconds);
}
