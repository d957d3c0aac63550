/** One message as an item of the list: what it says, who wrote it and when, how its sending goes. */

import { clock, fullTime, initials, linked, tone } from './text.js';

/** @typedef {import('./rhubarb.js').Message} Message */
/** @typedef {import('./rhubarb.js').Outgoing} Outgoing */
/** @typedef {{ userId: string, username: string, at: Date }} Facts */

/** What a mark looks like (CSS) and is called, by the item's class. */
const MARKS = { pending: 'Sending', confirmed: 'Sent', failed: 'Not sent' };
const FAILURES = { message: 'Not sent', edit: 'Not changed', delete: 'Not deleted' };

const template = /** @type {HTMLTemplateElement} */ (document.querySelector('#message-template'));

/** @param {Element} item @param {string} selector */
export const part = (item, selector) => /** @type {HTMLElement} */ (item.querySelector(selector));

/** @returns {HTMLLIElement} an item that says nothing yet */
export function newItem() {
  const item = /** @type {Element} */ (template.content.firstElementChild).cloneNode(true);
  return /** @type {HTMLLIElement} */ (item);
}

/** @param {HTMLLIElement} item @param {Facts} facts @param {boolean} isMine */
export function describe(item, { userId, username, at }, isMine) {
  item.classList.toggle('mine', isMine);
  const face = part(item, '.face');
  face.textContent = initials(username);
  face.className = `face ${tone(userId)}`;
  part(item, '.author').textContent = isMine ? 'You' : username;
  const time = /** @type {HTMLTimeElement} */ (part(item, 'time'));
  time.textContent = clock(at);
  time.dateTime = at.toISOString();
  part(item, '.line').title = fullTime(at);
}

/** What it says now. @param {HTMLLIElement} item @param {Pick<Message, 'message' | 'editedAt' | 'deleted'>} message */
export function say(item, { message, editedAt, deleted = false }) {
  item.classList.toggle('deleted', deleted);
  part(item, '.edited').hidden = !editedAt || deleted;
  part(item, '.message-text').replaceChildren(deleted ? 'This message was deleted' : linked(message));
}

/** It is in the room. @param {HTMLLIElement} item @param {Message} message @param {boolean} isMine */
export function confirm(item, message, isMine) {
  item.classList.remove('pending', 'failed');
  item.dataset.messageId = String(message.messageId);
  part(item, '.trouble').hidden = true;
  say(item, message);
  if (isMine) setMark(item, 'confirmed');
}

/** How the sending of it, or of a change of it, goes. @param {HTMLLIElement} item @param {Outgoing} entry */
export function progress(item, { clientId, kind, message, state, error }) {
  const hasFailed = state === 'failed';
  item.dataset.clientId = clientId;
  item.classList.toggle('pending', !hasFailed);
  item.classList.toggle('failed', hasFailed);
  say(item, { message, deleted: kind === 'delete', editedAt: kind === 'edit' ? 1 : undefined });
  setMark(item, hasFailed ? 'failed' : 'pending');
  part(item, '.reason').textContent = error ? `${FAILURES[kind]}: ${error}` : `${FAILURES[kind]}.`;
  part(item, '.trouble').hidden = !hasFailed;
}

/** @param {Element} item @param {keyof typeof MARKS} state */
function setMark(item, state) {
  const mark = part(item, '.mark');
  mark.dataset.mark = state;
  mark.setAttribute('role', 'img');
  mark.setAttribute('aria-label', MARKS[state]);
  mark.title = MARKS[state];
}
