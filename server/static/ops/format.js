/** Numbers, times and spans as people read them. */

const COUNT = new Intl.NumberFormat('en');
const MOMENT = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

/** @param {number | null | undefined} n */
export const count = (n) => (n === null || n === undefined ? '–' : COUNT.format(n));

/** So many a second. @param {number | null} n */
export function rate(n) {
  if (n === null || !Number.isFinite(n)) return '–';
  if (n > 0 && n < 0.095) return '<0.1/s';
  return `${n < 10 && n % 1 ? n.toFixed(1) : COUNT.format(Math.round(n))}/s`;
}

/** @param {number | null | undefined} ms */
export function span(ms) {
  if (ms === null || ms === undefined) return '–';
  const all = Math.max(0, ms);
  if (all > 0 && all < 1) return '<1 ms';
  if (all < 1000) return `${Math.round(all)} ms`;
  const s = all / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return two(s, 60, 'min', 1, 's');
  if (s < 86400) return two(s, 3600, 'h', 60, 'min');
  return two(s, 86400, 'd', 3600, 'h');
}

/** A span where there is little room. @param {number} ms */
export function shortSpan(ms) {
  const [n, of] = ms < 1000 ? [ms, 'ms'] : ms < 60_000 ? [ms / 1000, 's'] : ms < 3_600_000 ? [ms / 60_000, 'm'] : ms < 86_400_000 ? [ms / 3_600_000, 'h'] : [ms / 86_400_000, 'd'];
  return `${+n.toFixed(1)} ${of}`;
}

/** A number where there is little room. @param {number} n */
export const short = (n) => (n >= 1e6 ? `${+(n / 1e6).toFixed(1)}M` : n >= 1e3 ? `${+(n / 1e3).toFixed(1)}k` : String(+n.toFixed(1)));

const ORDER = ['high', 'default', 'low'];
/** Names of queues, by priority. @param {string[]} names */
export const byPriority = (names) => [...names].sort((one, other) => ORDER.indexOf(one) - ORDER.indexOf(other));

/** @param {number} s @param {number} big @param {string} of @param {number} small @param {string} and */
function two(s, big, of, small, and) {
  const rest = Math.floor((s % big) / small);
  return `${Math.floor(s / big)} ${of}${rest ? ` ${rest} ${and}` : ''}`;
}

/** @param {number | null | undefined} ms  since 1970 */
export const moment = (ms) => (ms ? MOMENT.format(ms) : '–');

/** How long ago, or in how long. @param {number | null | undefined} ms @param {number} now */
export function ago(ms, now) {
  if (!ms) return '–';
  return ms > now ? `in ${span(ms - now)}` : `${span(now - ms)} ago`;
}

/** @param {number} n @param {string} one @param {string} [many] */
export const many = (n, one, many_ = `${one}s`) => `${count(n)} ${n === 1 ? one : many_}`;

/** JSON on a line, cut off. @param {any} value @param {number} most */
export function brief(value, most = 80) {
  const text = value === undefined || value === null ? '' : JSON.stringify(value);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
