/** Charts in SVG: small ones beside a number, and large ones with axes and what stands under the pointer. */

import { h } from './dom.js';

/** A gap this many times as long as the usual step is a hole, and no line is drawn over it. */
const HOLE = 3.5;

/** @typedef {{name: string, points: [number, number | null][]}} Series  of time in ms and value */

/** @param {(number | null)[]} values @param {string} name */
export function sparkline(values, name) {
  const [width, height] = [120, 28];
  const known = values.filter((value) => value !== null);
  const top = Math.max(1, ...known);
  const x = (/** @type {number} */ at) => 1 + (at / Math.max(1, values.length - 1)) * (width - 2);
  const y = (/** @type {number} */ value) => height - 2 - (value / top) * (height - 4);
  const path = pathOf(values.map((value, at) => (value === null ? null : [x(at), y(value)])));
  return h('svg:svg', { class: 'sparkline', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${name}: highest ${Math.round(top)} of the last minutes` },
    h('svg:path', { d: path }));
}

/**
 * @param {string} name
 * @param {Series[]} series
 * @param {{format: (n: number) => string, from: number, to: number, least?: number, clock: (ms: number) => string}} how  `least` is the height of the chart where all is less
 */
export function chart(name, series, how) {
  const isNarrow = matchMedia('(max-width: 760px)').matches;
  const [width, height, left, bottom] = isNarrow ? [330, 150, 44, 20] : [560, 170, 46, 20];
  const { from, to, format, clock } = how;
  const all = series.flatMap((one) => one.points.map(([, value]) => value ?? 0));
  const top = round(Math.max(how.least ?? 1, ...all));
  const x = (/** @type {number} */ t) => left + ((t - from) / Math.max(1, to - from)) * (width - left - 8);
  const y = (/** @type {number} */ value) => height - bottom - (value / top) * (height - bottom - 8);
  const lines = series.map((one, n) => {
    const inside = one.points.filter(([t]) => t >= from);
    return h('svg:path', { class: `line line-${n}`, d: pathOf(withHoles(inside).map((point) => (point ? [x(point[0]), y(point[1])] : null))) });
  });
  const steps = [0, top / 2, top];
  const grid = steps.map((value) => [
    h('svg:line', { class: 'grid', x1: left, x2: width - 8, y1: y(value), y2: y(value) }),
    h('svg:text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, format(value)),
  ]);
  const marks = (isNarrow ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]).map((at) => {
    const t = from + at * (to - from);
    const anchor = at === 0 ? 'start' : at === 1 ? 'end' : 'middle';
    return h('svg:text', { x: x(t), y: height - 4, 'text-anchor': anchor }, clock(t));
  });
  const last = (/** @type {Series} */ one) => one.points[one.points.length - 1]?.[1] ?? null;
  const told = series.map((one) => `${one.name} now ${last(one) === null ? 'unknown' : format(/** @type {number} */ (last(one)))}`).join(', ');
  const svg = h('svg:svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${name}: ${told}` }, grid, marks, lines,
    h('svg:line', { class: 'pointer', 'data-own': true, y1: 8, y2: height - bottom, visibility: 'hidden' }));
  const legend = series.map((one, n) => h('li', { class: `key key-${n}` }, h('span', {}, one.name), ' ', h('b', {}, last(one) === null ? '–' : format(/** @type {number} */ (last(one))))));
  return h('figure', {
    class: 'chart',
    onpointermove: (/** @type {any} */ event) => point(event, series, { x, from, to, left, width, format }),
    onpointerleave: (/** @type {any} */ event) => leave(event.currentTarget),
  }, h('figcaption', {}, h('span', {}, name), h('ul', { class: 'legend' }, legend)), svg, h('p', { class: 'readout', 'aria-hidden': 'true', 'data-own': true }));
}

/** Shows what stands under the pointer. @param {any} event @param {Series[]} series @param {any} it */
function point(event, series, it) {
  const figure = event.currentTarget;
  const svg = figure.querySelector('svg');
  const box = svg.getBoundingClientRect();
  const at = ((event.clientX - box.left) / box.width) * it.width;
  if (at < it.left) {
    leave(figure);
    return;
  }
  const t = it.from + ((at - it.left) / (it.width - it.left - 8)) * (it.to - it.from);
  const near = series.map((one) => nearest(one.points, t));
  const first = near.find((one) => one);
  if (!first) return;
  const line = svg.querySelector('.pointer');
  line.setAttribute('x1', it.x(first[0]));
  line.setAttribute('x2', it.x(first[0]));
  line.setAttribute('visibility', 'visible');
  const values = series.map((one, n) => `${one.name} ${near[n] && near[n][1] !== null ? it.format(near[n][1]) : '–'}`);
  figure.querySelector('.readout').textContent = `${new Date(first[0]).toLocaleString('en-GB')}: ${values.join(', ')}`;
}

/** @param {any} figure */
function leave(figure) {
  figure.querySelector('.readout').textContent = '';
  figure.querySelector('.pointer').setAttribute('visibility', 'hidden');
}

/** @param {[number, number | null][]} points @param {number} t */
function nearest(points, t) {
  let best = null;
  for (const one of points) if (!best || Math.abs(one[0] - t) < Math.abs(best[0] - t)) best = one;
  return best;
}

/** The same points with `null` where there is a hole. @param {[number, number | null][]} points */
function withHoles(points) {
  const steps = points.slice(1).map(([t], n) => t - points[n][0]).sort((a, b) => a - b);
  const usual = steps[Math.floor(steps.length / 2)] ?? 0;
  /** @type {([number, number] | null)[]} */
  const all = [];
  points.forEach(([t, value], n) => {
    if (value === null || (n > 0 && t - points[n - 1][0] > HOLE * usual)) all.push(null);
    if (value !== null) all.push([t, value]);
  });
  return all;
}

/** @param {(number[] | null)[]} points */
function pathOf(points) {
  let path = '';
  let isOn = false;
  points.forEach((point, n) => {
    if (!point) {
      isOn = false;
      return;
    }
    const [x, y] = point.map((n) => n.toFixed(1));
    path += isOn ? `L${x} ${y}` : `M${x} ${y}`;
    // A single point is a dot, not nothing.
    if (!isOn && !points[n + 1]) path += `h0.01`;
    isOn = true;
  });
  return path;
}

/** A round number not below this one. @param {number} n */
function round(n) {
  const step = 10 ** Math.floor(Math.log10(n));
  for (const times of [1, 2, 4, 5, 10]) if (n <= times * step) return times * step;
  return n;
}
