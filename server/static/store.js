/** What the page remembers in this browser: who the person is, their rooms, what they have read. */

import { ulid } from './rhubarb.js';

const PREFIX = 'rhubarb.';
/** Stands in where the browser forbids storage (private windows, blocked cookies). */
const fallback = new Map();

/** @param {string} key @param {any} otherwise */
function get(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key) ?? 'null') ?? otherwise;
  } catch {
    return fallback.get(key) ?? otherwise;
  }
}

/** @param {string} key @param {any} value */
function set(key, value) {
  fallback.set(key, value);
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // kept in memory only
  }
  return value;
}

const ROOM_ID = /^[A-Za-z0-9_.:-]{1,64}$/;

/** Whether the server will take it as the id of a room. @param {string} name */
export const isRoomId = (name) => ROOM_ID.test(name);

/** @returns {string} the person's stable id in this browser */
export function userId() {
  const known = get('userId', '');
  // The server marks guests where it knows others by their tokens.
  return known.startsWith('guest-') ? known : set('userId', `guest-${known || ulid()}`);
}

const FIRST = ['Mellow', 'Brisk', 'Sunny', 'Quiet', 'Early', 'Tart', 'Rosy', 'Wild'];
const SECOND = ['Fern', 'Sorrel', 'Thyme', 'Clover', 'Bramble', 'Maple', 'Quince', 'Linden'];
const any = (/** @type {string[]} */ words) => words[Math.floor(Math.random() * words.length)];

/** @returns {string} the chosen name, or a made-up one to begin with */
export function username() {
  return get('username', '') || set('username', `${any(FIRST)} ${any(SECOND)}`);
}

/**
 * Keeps a chosen name, tidied: one line, no odd characters, at most 64.
 * @param {string} name
 * @returns {string} the tidied name; empty (and not kept) when nothing is left
 */
export function rename(name) {
  const plain = name.replace(/[\p{Cc}\p{Cs}\u2028\u2029]/gu, ' ').replace(/\s+/g, ' ').trim();
  const tidy = [...plain].slice(0, 64).join('').trim();
  return tidy && set('username', tidy);
}

/** @returns {string[]} the joined rooms, oldest first */
export function rooms() {
  return get('rooms', []).filter(isRoomId);
}

/** @param {string} room */
export function addRoom(room) {
  if (!rooms().includes(room)) set('rooms', [...rooms(), room]);
}

/** @param {string} room */
export function removeRoom(room) {
  set('rooms', rooms().filter((one) => one !== room));
}

/** The id of the last message read in a room; null before the first visit. @param {string} room */
export function readUpTo(room) {
  return get(`read.${room}`, null);
}

/** @param {string} room @param {number} messageId */
export function markRead(room, messageId) {
  if (messageId > (readUpTo(room) ?? -1)) set(`read.${room}`, messageId);
}

/** What was being written in a room. For this window only, so that two do not fight. @param {string} room */
export function draft(room) {
  try {
    return sessionStorage.getItem(`${PREFIX}draft.${room}`) ?? '';
  } catch {
    return fallback.get(`draft.${room}`) ?? '';
  }
}

/** @param {string} room @param {string} text */
export function keepDraft(room, text) {
  fallback.set(`draft.${room}`, text);
  try {
    if (text) sessionStorage.setItem(`${PREFIX}draft.${room}`, text);
    else sessionStorage.removeItem(`${PREFIX}draft.${room}`);
  } catch {
    // kept in memory only
  }
}

/**
 * The token that the address brought (`?token=…`) or that was typed in, for this window. It is taken out of
 * the address, so that it is not shared with it.
 */
export function token() {
  const address = new URL(location.href);
  const given = address.searchParams.get('token');
  if (given) {
    address.searchParams.delete('token');
    history.replaceState(null, '', address);
    keepToken(given);
  }
  try {
    return sessionStorage.getItem(`${PREFIX}token`) ?? undefined;
  } catch {
    return fallback.get('token');
  }
}

/** @param {string} token */
export function keepToken(token) {
  fallback.set('token', token);
  try {
    sessionStorage.setItem(`${PREFIX}token`, token);
  } catch {
    // kept in memory only
  }
}

/** Storage may be forbidden, and then even naming it throws. */
export function session() {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
}
