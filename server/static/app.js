/**
 * The page: puts the chat client (client.js) and the parts of the window together.
 * The room shown is the one in the address: `/#lobby`.
 */

import { ChatClient } from './client.js';
import { Composer } from './composer.js';
import { ConnectionBar } from './connection-bar.js';
import { HistoryNotice } from './history-notice.js';
import { MessageList } from './message-list.js';
import { RoomList } from './room-list.js';
import * as store from './store.js';
import { initials, tone } from './text.js';
import { Typing } from './typing.js';

/** @typedef {import('./room.js').Room} Room */

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

const DEFAULT_ROOM = 'lobby';
const DAY_CHECK_MS = 60_000;
const TOAST_MS = 6_000;

const chat = new ChatClient({
  userId: store.userId(),
  username: store.username(),
  storage: safeSessionStorage(),
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
  onRetry: (clientId) => chat.retry(current.id, clientId),
  onDiscard: (clientId) => {
    chat.discard(current.id, clientId);
    list.discard(clientId);
  },
});
const historyNotice = new HistoryNotice({
  load: (room) => chat.loadOlder(room),
  rejoin: (room) => chat.join(room.id),
  keepPlace: (change) => list.keepPlace(change),
});
const composer = new Composer({
  onSend: (text) => {
    chat.send(current.id, text);
    list.toNewest();
  },
  onTyping: () => chat.typing(current.id),
});
const roomList = new RoomList({ onOpen: goTo, onLeave: leave });
const connection = new ConnectionBar({ onReconnect: () => chat.reconnect() });
const typing = new Typing();

chat.on('status', (status) => connection.show(status));
chat.on('replaced', ({ room }) => {
  if (room !== current) return drawRooms();
  list.show(room, store.readUpTo(room.id), { keepPlace: true });
  markRead();
});
chat.on('messages', ({ room, messages, older }) => {
  messages.forEach(({ userId }) => typing.stopped(room.id, userId));
  if (room === current && older) list.addOlder(messages);
  else if (room === current) list.add(messages, { isAway: document.hidden });
  if (room === current) historyNotice.show(room);
  markRead();
});
chat.on('changed', ({ room, message }) => room === current && list.change(message));
chat.on('trimmed', ({ room, messages }) => room === current && list.remove(messages));
chat.on('outgoing', ({ room, entry, done, message }) => {
  if (room !== current) return;
  if (done) list.confirm(entry.clientId, message);
  else list.outgoing(entry);
  historyNotice.show(room);
  markRead();
});
chat.on('room', ({ room }) => {
  if (room === current) drawRoom();
  drawRooms();
});
chat.on('typing', ({ room, userId, username }) => typing.started(room.id, userId, username));
chat.on('notice', ({ message }) => toast(message));

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
function leave(id) {
  const unsent = chat.rooms.get(id)?.outbox.length;
  if (unsent && !confirm(`${unsent} of your messages in #${id} were not sent yet. Leave and drop them?`)) return;
  chat.leave(id);
  store.removeRoom(id);
  if (id === current.id) goTo(store.rooms().at(-1) ?? DEFAULT_ROOM);
  drawRooms();
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

/** @param {Room} room */
function unread(room) {
  const readUpTo = store.readUpTo(room.id);
  if (readUpTo === null) return 0;
  let count = 0;
  for (let at = room.messages.length - 1; at >= 0; at -= 1) {
    const { messageId, userId } = room.messages[at];
    if (messageId <= readUpTo) break;
    if (userId !== chat.userId) count += 1;
  }
  return count;
}

/** What is in view has been read; a room never seen before starts as read. */
function markRead() {
  for (const room of chat.rooms.values()) {
    const newest = room.messages.at(-1)?.messageId ?? 0;
    const inView = room === current && list.follows && !document.hidden;
    if (inView || (room.generation && store.readUpTo(room.id) === null)) store.markRead(room.id, newest);
  }
  drawRooms();
}

let drawing = 0;

/** Once per turn of the event loop, however many messages arrive in it. */
function drawRooms() {
  drawing ||= setTimeout(() => {
    drawing = 0;
    const rooms = [...chat.rooms.values()].map((room) => (
      { id: room.id, unread: unread(room), refused: room.state === 'refused' }));
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
  $('#username').value = chat.username;
  $('#my-face').textContent = initials(chat.username);
  $('#my-face').className = `face ${tone(chat.userId)}`;
}

function takeName() {
  const name = store.rename($('#username').value);
  if (name) chat.rename(name);
  drawMe();
}

/** Storage may be forbidden, and then even naming it throws. */
function safeSessionStorage() {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
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
addEventListener('hashchange', open);
addEventListener('focus', markRead);
document.addEventListener('visibilitychange', markRead);

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
chat.connect();
