/**
 * The frame of the dashboard: who is signed in, which view is open, how fresh the numbers are. A view is a
 * module of `views/` whose default export makes `{title, draw}`; its place is the hash, with filters in it, so that
 * a link or a reload shows the same and Back goes back.
 */

import { call, get, onSignedOut } from './api.js';
import { doing } from './ask.js';
import { h, show } from './dom.js';
import { span } from './format.js';
import { Live } from './live.js';
import actions from './views/actions.js';
import dead from './views/dead.js';
import job from './views/job.js';
import jobs from './views/jobs.js';
import overview from './views/overview.js';
import queues from './views/queues.js';
import room from './views/room.js';
import rooms from './views/rooms.js';
import schedule from './views/schedule.js';
import workers from './views/workers.js';

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

const VIEWS = { overview, queues, workers, jobs, job, dead, schedule, rooms, room, actions };
/** Those of the menu, and which of them leads to the others. */
const MENU = [
  ['overview', 'Overview'],
  ['queues', 'Queues'],
  ['workers', 'Workers'],
  ['jobs', 'Jobs'],
  ['dead', 'Dead letters'],
  ['schedule', 'Schedule'],
  ['rooms', 'Rooms'],
  ['actions', 'Actions'],
];
const WITHIN = { job: 'jobs', room: 'rooms' };

const live = new Live();
/** @type {any} */
let view = null;
/** @type {AbortController} */
let ending = new AbortController();

/** What a view is given of the place: `#/name/id?filter=…`. */
function place() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = path.split('/');
  return { name: name || 'overview', id: rest.map(decodeURIComponent).join('/'), query: new URLSearchParams(query) };
}

function open() {
  const { name, id, query } = place();
  ending.abort();
  ending = new AbortController();
  const make = VIEWS[/** @type {keyof typeof VIEWS} */ (name)] ?? overview;
  const element = h('div', { class: `view view-${name}` });
  const mine = ending.signal;
  const redraw = () => {
    if (!mine.aborted) show(element, view.draw());
  };
  view = make({ id, query, live, redraw, signal: mine, every: (/** @type {number} */ ms, /** @type {() => any} */ work) => every(ms, work, mine), set: setQuery });
  $('#view').replaceChildren(element);
  document.title = `${view.title} · Rhubarb operations`;
  redraw();
  menu(name);
  $('#views [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

/** Does something now and then, while the view is open and seen. @param {number} ms @param {() => any} work @param {AbortSignal} signal */
function every(ms, work, signal) {
  const timer = setInterval(() => {
    if (!document.hidden) work();
  }, ms);
  signal.addEventListener('abort', () => clearInterval(timer));
  work();
}

/** Opens the same view with other filters. @param {Record<string, string | null | undefined>} filters */
function setQuery(filters) {
  const { name, id } = place();
  const parts = Object.entries(filters).filter(([, value]) => value);
  const query = new URLSearchParams(/** @type {[string, string][]} */ (parts)).toString();
  const where = `#/${name}${id ? `/${encodeURIComponent(id)}` : ''}${query ? `?${query}` : ''}`;
  if (where === location.hash) open();
  else location.hash = where;
}

/** @param {string} [name] */
function menu(name = place().name) {
  const current = WITHIN[/** @type {keyof typeof WITHIN} */ (name)] ?? name;
  const dead_ = live.snapshot?.status.dead ?? 0;
  show($('#views'), h('ul', {}, MENU.map(([to, text]) => h('li', {},
    h('a', { href: `#/${to}`, 'aria-current': to === current ? 'page' : false }, text,
      to === 'dead' && dead_ > 0 ? h('span', { class: 'badge' }, dead_ > 9999 ? '9999+' : String(dead_)) : null)))));
}

function tellFreshness() {
  const state = live.state;
  const seconds = Math.round(live.silentFor / 1000);
  const silent = seconds < 60 ? `${seconds} s` : span(seconds * 1000);
  const text = {
    connecting: 'Connecting',
    fresh: 'Live',
    stale: live.snapshot ? `Last update ${silent} ago, reconnecting` : `No answer for ${silent}, connecting`,
    away: 'Redis cannot be reached',
  }[state];
  $('#freshness').dataset.state = state;
  if ($('#freshness-text').textContent !== text) $('#freshness-text').textContent = text;
  document.body.dataset.fresh = state === 'fresh' ? 'yes' : 'no';
  const trouble = $('#trouble');
  const isBad = state === 'stale' || state === 'away';
  trouble.hidden = !isBad;
  // By ear once, not every second.
  const says = state === 'away'
    ? 'The server cannot reach Redis. What is shown was so before; it goes on when Redis is back.'
    : `Nothing fresh comes from the server${live.why ? ` (${live.why})` : ''}. What is shown was so before.`;
  if (isBad && trouble.textContent !== says) trouble.textContent = says;
}

/** @param {{name: string, until?: number}} who */
function enter(who) {
  document.body.dataset.signed = 'in';
  $('#sign-in').hidden = true;
  $('#who').textContent = who.name;
  live.open();
  open();
}

function leave(why = '') {
  if (document.body.dataset.signed === 'out') return;
  document.body.dataset.signed = 'out';
  live.close();
  ending.abort();
  $('#view').replaceChildren();
  $('#sign-in').hidden = false;
  $('#sign-in-why').textContent = why;
  $('#token').focus();
}

live.addEventListener('snapshot', () => {
  if (view?.draw && view.isLive !== false) show($('#view').firstElementChild, view.draw());
  menu();
});
live.addEventListener('freshness', tellFreshness);
addEventListener('hashchange', () => {
  if (document.body.dataset.signed !== 'in') return;
  open();
  window.scrollTo(0, 0);
  $('#main').focus({ preventScroll: true });
});
onSignedOut(() => leave(document.body.dataset.signed === 'in' ? 'Your time here is over: sign in again.' : ''));

$('#sign-in').addEventListener('submit', async (/** @type {Event} */ event) => {
  event.preventDefault();
  $('#sign-in-why').textContent = '';
  try {
    const who = await call('POST', 'session', { token: $('#token').value.trim() });
    $('#token').value = '';
    enter(who);
  } catch (error) {
    const refused = /** @type {import('./api.js').Refused} */ (error);
    $('#sign-in-why').textContent = refused.status === 401 ? 'This is nobody’s token.' : refused.message;
  }
});
$('#sign-out').addEventListener('click', () => doing(async () => {
  await call('DELETE', 'session');
  leave();
  return `Signed out`;
}));
$('#skip').addEventListener('click', (/** @type {Event} */ event) => {
  event.preventDefault(); // the hash is the view's
  $('#main').focus();
});
addEventListener('visibilitychange', () => {
  if (!document.hidden && document.body.dataset.signed === 'in' && live.state === 'stale') live.open();
});

get('me').then(enter, (error) => leave(error.status === 401 ? '' : error.message));

