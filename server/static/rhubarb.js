/**
 * The Rhubarb chat client: joins rooms, sends, and stays right through lost connections.
 * A module without a build or dependencies; docs/javascript.md has the whole of it, rhubarb.d.ts the types.
 *
 * ```js
 * import { Rhubarb } from '/static/rhubarb.js';
 *
 * const chat = new Rhubarb({ token: () => fetch('/my/token').then((answer) => answer.text()) });
 * const room = chat.join('lobby');
 * room.on('messages', ({ messages }) => messages.forEach((one) => console.log(one.username, one.message)));
 * chat.connect();
 * await room.send('hi'); // kept by the server, whatever happened on the way
 * ```
 *
 * What it promises:
 * - **Nothing written is lost.** What is sent stays in the room's `outbox` until it is acknowledged,
 *   over reconnects and (with `storage`) over reloads; it is resent under the same client id, and
 *   the server returns the first one's id. One message per room is under way at a time, so a
 *   refused one is never overtaken by the next.
 * - **One order, no doubles.** `room.messages` is sorted by id; each id and each client id of ours
 *   stands there once.
 * - **No silent hole.** Each entry names the one before it; if that is not the last one seen,
 *   the room is joined again from there, and the entry waits until the gap is filled.
 *
 * Read on in rhubarb/client.js (the connection), then room.js (joins, holes), sender.js (what is
 * unsent), timeline.js (the order), link.js (reconnecting), transport.js.
 */

export { Rhubarb } from './rhubarb/client.js';
export { RhubarbError } from './rhubarb/error.js';
export { ulid } from './rhubarb/ulid.js';
