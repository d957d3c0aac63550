/**
 * The page: puts the chat client (rhubarb.js) and the parts of the window together.
 * The room shown is the one in the address: `/#lobby`.
 */

import { Composer } from './composer.js';
import { ConnectionBar } from './connection-bar.js';
import { confirmed, showKeys } from './dialogs.js';
import { HistoryNotice } from './history-notice.js';
import { MessageList } from './message-list.js';
import { MessageTools } from './message-tools.js';
import { Rhubarb } from './rhubarb.js';
import { RoomList } from './room-list.js';
import { listenToKeys } from './shortcuts.js';
import * as store from './store.js';
import { initials, tone } from './text.js';
import { Typing } from './typing.js';
import { lineOf } from './unread.js';

/** @typedef {import('./rhubarb.js').Room} Room */

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

const DEFAULT_ROOM = 'lobby';
const DAY_CHECK_MS = 60_000;
const TOAST_MS = 6_000;

const chat = new Rhubarb({
  token: store.token(),
  guest: { userId: store.userId(), username: store.username() },
  storage: store.session(),
});
/** @type {Room} */ let current;

const list = new MessageList({
  me: () => ({ userId: chat.userId, username: chat.username }),
  onNearTop: async () => {
    // One page may not fill the window: look again.
    if (await historyNotice.wanted(current)) list.checkTop();
  },
  onScroll: () => {
    current.pinned = !list.follows;
    markRead();
  },
  onRetry: (clientId) => current.retry(clientId),
  onDiscard: (clientId) => current.discard(clientId),
});
const historyNotice = new HistoryNotice({
  load: (room) => room.loadOlder(),
  rejoin: (room) => room.join(),
  keepPlace: (change) => list.keepPlace(change),
});
const composer = new Composer({
  onSend: (text) => {
    const room = current;
    room.send(text).catch(({ code, message }) => code === 'queue_full' && toast(message));
    list.toNewest();
  },
  onEdit: (messageId, text) => {
    if (text !== current.message(messageId)?.message) void current.edit(messageId, text);
  },
  onTyping: () => current.typing(),
  onUp: () => {
    const last = current.messages.findLast((one) => one.userId === chat.userId && !one.deleted);
    if (last) composer.edit(last);
  },
});
new MessageTools({
  mayChange: (messageId) => {
    const message = current.message(messageId);
    return message?.userId === chat.userId && !message.deleted;
  },
  onEdit: (messageId) => {
    const message = current.message(messageId);
    if (message) composer.edit(message);
  },
  onDelete: async (messageId) => {
    const room = current;
    if (await confirmed('Delete this message for everybody?', 'Delete')) void room.delete(messageId);
    list.focus(messageId);
  },
  onLeave: () => {
    list.toNewest();
    composer.focus();
  },
});
const roomList = new RoomList({ onOpen: goTo, onLeave: leave });
const connection = new ConnectionBar({
  onReconnect: () => chat.reconnect(),
  onToken: (token) => {
    store.keepToken(token);
    location.reload(); // as another person, from the start
  },
});
const typing = new Typing();

chat.on('status', (status) => connection.show(status));
chat.on('replaced', ({ room }) => {
  if (room !== current) return drawRooms();
  list.show(room, store.readUpTo(room.id), { keepPlace: !list.isEmpty });
  markRead();
});
chat.on('messages', ({ room, messages, older }) => {
  messages.forEach((/** @type {any} */ { userId }) => typing.stopped(room.id, userId));
  if (room === current && older) list.addOlder(messages);
  else if (room === current) list.add(messages, { isAway: document.hidden });
  if (room === current) historyNotice.show(room);
  markRead();
});
chat.on('changed', ({ room, message }) => {
  if (room === current) list.change(message);
  drawRooms();
});
chat.on('trimmed', ({ room, messages }) => room === current && list.remove(messages));
chat.on('outgoing', ({ room, entry, done, message }) => {
  if (room === current) drawOutgoing(entry, done, message);
  historyNotice.show(current);
  markRead();
});
chat.on('room', ({ room }) => {
  if (room === current) drawRoom();
  drawRooms();
});
chat.on('typing', ({ room, userId, username }) => typing.started(room.id, userId, username));
chat.on('notice', ({ error }) => toast(error.message));

/** @param {import('./rhubarb.js').Outgoing} entry @param {boolean} done @param {any} message */
function drawOutgoing(entry, done, message) {
  const target = entry.target && current.message(entry.target);
  if (!done) list.outgoing(entry);
  else if (message) list.confirm(entry.clientId, message);
  else if (target) list.change(target); // the change was dropped
  else list.discard(entry.clientId);
}

/** The room that the address names. */
function roomInAddress() {
  try {
    const name = decodeURIComponent(location.hash.slice(1));
    return store.isRoomId(name) ? name : DEFAULT_ROOM;
  } catch {
    return DEFAULT_ROOM;
  }
}

/** @param {string} room */
function goTo(room) {
  if (location.hash === `#${room}`) open();
  else location.hash = room;
}

/** Shows the room in the address. */
function open() {
  const id = roomInAddress();
  if (current) current.pinned = false;
  store.addRoom(id);
  current = chat.join(id);
  composer.show(id);
  typing.show(id);
  list.show(current, store.readUpTo(id));
  markRead();
  drawRoom();
  if (matchMedia('(pointer: fine)').matches) composer.focus(); // on a phone the keyboard would pop up
}

/** @param {string} id */
async function leave(id) {
  const unsent = chat.rooms.get(id)?.outbox.length;
  const question = `${unsent} of your messages in #${id} were not sent yet. Leave and drop them?`;
  if (unsent && !(await confirmed(question, 'Leave'))) return;
  chat.rooms.get(id)?.leave();
  store.removeRoom(id);
  if (id === current.id) goTo(store.rooms().at(-1) ?? DEFAULT_ROOM);
  drawRooms();
}

/** The rooms in the order of the list: that in which they were joined first. */
function joined() {
  return store.rooms().flatMap((id) => chat.rooms.get(id) ?? []);
}

/** To the next room of the list in a direction. @param {-1 | 1} by @param {boolean} isUnread  past those that are read */
function step(by, isUnread) {
  const rooms = joined();
  const at = rooms.indexOf(current);
  for (let n = 1; n < rooms.length; n += 1) {
    const room = rooms[(at + by * n + rooms.length * n) % rooms.length];
    if (!isUnread || lineOf(room, chat.userId).unread) return goTo(room.id);
  }
}

function drawRoom() {
  $('#room-title').textContent = current.id;
  const members = $('#members');
  members.hidden = !current.members;
  members.dataset.count = String(current.members);
  const text = `${current.members} here`;
  if (members.textContent !== text) members.textContent = text;
  historyNotice.show(current);
}

/** What is in view has been read; a room never seen before starts as read. */
function markRead() {
  for (const room of chat.rooms.values()) {
    const inView = room === current && list.follows && !document.hidden;
    const isRead = inView || store.readUpTo(room.id) === null;
    if (room.isLoaded && isRead) store.markRead(room.id, room.messages.at(-1)?.messageId ?? 0);
  }
  drawRooms();
}

let drawing = 0;

/** Once per turn of the event loop, however many messages arrive in it. */
function drawRooms() {
  drawing ||= setTimeout(() => {
    drawing = 0;
    const rooms = joined().map((room) => lineOf(room, chat.userId));
    roomList.show(rooms, current.id);
    const total = rooms.reduce((sum, room) => sum + room.unread, 0);
    document.title = `${total ? `(${total > 99 ? '99+' : total}) ` : ''}#${current.id} · Rhubarb`;
    drawPill(rooms.find(({ id }) => id === current.id)?.unread ?? 0);
  }, 50);
}

/** @param {number} count unread messages below what is in view */
function drawPill(count) {
  $('#to-newest').hidden = list.follows;
  $('#to-newest-text').textContent = !count ? 'To the newest'
    : count === 1 ? '1 new message' : `${count > 99 ? '99+' : count} new messages`;
  $('#to-newest').classList.toggle('news', count > 0);
}

let toastTimer = 0;

/** @param {string} text */
function toast(text) {
  $('#toast').textContent = text;
  $('#toast').hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($('#toast').hidden = true), TOAST_MS);
}

function drawMe() {
  const isGuest = store.token() === undefined;
  $('#username').value = chat.username;
  $('#username').readOnly = !isGuest; // a token says who we are
  $('#my-face').textContent = initials(chat.username);
  $('#my-face').className = `face ${tone(chat.userId)}`;
}

function takeName() {
  const name = store.rename($('#username').value);
  if (name) chat.rename(name);
  drawMe();
}

$('#username').addEventListener('change', takeName);
$('#name-form').addEventListener('submit', (/** @type {Event} */ event) => {
  event.preventDefault();
  takeName();
  composer.focus();
});
$('#to-newest').addEventListener('click', () => {
  list.toNewest();
  composer.focus();
});
$('#skip').addEventListener('click', (/** @type {Event} */ event) => {
  event.preventDefault(); // the part after # names a room here
  composer.focus();
});
$('#show-keys').addEventListener('click', showKeys);
addEventListener('hashchange', open);
addEventListener('focus', markRead);
document.addEventListener('visibilitychange', markRead);
listenToKeys({
  previousRoom: (isUnread) => step(-1, isUnread),
  nextRoom: (isUnread) => step(1, isUnread),
  joinRoom: () => roomList.focusJoin(),
  write: () => {
    list.toNewest();
    composer.focus();
  },
  help: showKeys,
});

let today = new Date().toDateString();
setInterval(() => {
  if (today === new Date().toDateString()) return;
  today = new Date().toDateString(); // what was today is yesterday
  list.show(current, store.readUpTo(current.id), { keepPlace: true });
}, DAY_CHECK_MS);

drawMe();
// The room in the address first: it is joined first on each connection.
chat.join(roomInAddress());
store.rooms().forEach((room) => chat.join(room));
open();
void chat.connect();
