/** A room in one line: what was said last, and how much of it is unread. */

import * as store from './store.js';

/** @param {import('./rhubarb.js').Room} room @param {string} me  our user id */
export function lineOf(room, me) {
  const last = room.messages.at(-1);
  const author = last?.userId === me ? 'You' : last?.username;
  const text = last?.deleted ? 'message deleted' : last?.message;
  return {
    id: room.id,
    unread: unread(room, me),
    refused: room.state === 'refused',
    last: last ? `${author}: ${text}` : '',
    lastAt: last ? last.messageId / 1000 : 0,
  };
}

/** @param {import('./rhubarb.js').Room} room @param {string} me */
function unread(room, me) {
  const readUpTo = store.readUpTo(room.id);
  if (readUpTo === null) return 0;
  let count = 0;
  for (let at = room.messages.length - 1; at >= 0; at -= 1) {
    const { messageId, userId, deleted } = room.messages[at];
    if (messageId <= readUpTo) break;
    if (userId !== me && !deleted) count += 1;
  }
  return count;
}
