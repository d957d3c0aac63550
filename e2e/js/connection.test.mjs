/** Connecting, joining, holes: what a room shows, whatever happens to the connection. */

import { Rhubarb } from '../../server/static/rhubarb.js';
import { equal, eventually, fails, FakeServer, message, test } from './testing.mjs';

/** A client that is connected and has joined room `r`. @param {object} [options] @param {any[]} [messages] */
async function joined(options = {}, messages = [], page = {}) {
  const server = new FakeServer();
  const chat = new Rhubarb({
    url: 'http://chat.test', guest: { userId: 'ada', username: 'Ada' }, transports: ['websocket'],
    WebSocket: /** @type {any} */ (server.WebSocket), ...options,
  });
  const room = chat.join('r');
  void chat.connect();
  await server.joins({ messages, ...page });
  return { server, chat, room };
}

/** @param {import('../../server/static/rhubarb/room.js').Room} room */
const texts = (room) => room.messages.map((one) => one.message);

test('it says who it is, joins each room, and resolves when it is connected', async () => {
  const server = new FakeServer();
  const chat = new Rhubarb({
    url: 'https://chat.test', guest: { userId: 'ada', username: 'Ada L' },
    WebSocket: /** @type {any} */ (server.WebSocket),
  });
  chat.join('a');
  chat.join('b');
  await chat.connect();

  equal(server.socket.address, 'wss://chat.test/ws?userId=ada&username=Ada+L');
  equal((await server.heard('join')).payload.roomId, 'a');
  equal((await server.heard('join')).payload.roomId, 'b');
  equal(chat.status.state, 'connected');
  chat.close();
});

test('what is delivered twice stands there once, in order', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0), message(20, 10)]);

  server.says('message', message(30, 20));
  server.says('message', message(30, 20));
  server.says('message', message(20, 10));

  equal(texts(room), ['m10', 'm20', 'm30']);
  chat.close();
});

test('a hole is filled by joining again from before it, and what came meanwhile waits', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0)]);

  server.says('message', message(40, 30));
  equal(texts(room), ['m10'], 'not with a hole');
  server.says('message', message(50, 40));
  const again = await server.joins({ messages: [message(20, 10), message(30, 20), message(40, 30)] });

  equal(again.payload.since, 10);
  equal(texts(room), ['m10', 'm20', 'm30', 'm40', 'm50']);
  chat.close();
});

test('a connection that is lost is made anew, and each room resumes where it was', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0)]);
  server.says('message', message(20, 10));

  server.cut();
  equal(chat.status.state, 'offline');
  const again = await server.joins({ messages: [message(30, 20)] });

  equal(again.payload.since, 20);
  equal(server.sockets.length, 2);
  equal(texts(room), ['m10', 'm20', 'm30']);
  chat.close();
});

test('a resume that does not connect replaces what was there', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0)]);
  let replaced = 0;
  room.on('replaced', () => (replaced += 1));

  server.cut();
  await server.joins({ complete: false, more: true, messages: [message(90, 80)] });

  equal(texts(room), ['m90']);
  equal([replaced, room.more], [1, true]);
  chat.close();
});

test('a reset with `since` resumes, one without reloads', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0)]);

  server.says('reset', { roomId: 'r', reason: 'slow', since: 10 });
  const resumed = await server.joins({ messages: [message(20, 10)] });
  server.says('reset', { roomId: 'r', reason: 'the log was lost' });
  const reloaded = await server.joins({ messages: [message(20, 10)] });

  equal([resumed.payload.since, reloaded.payload.since], [10, undefined]);
  equal(texts(room), ['m20']);
  chat.close();
});

test('a room that was not all at hand is loaded anew after a lost connection, not resumed', async () => {
  const { server, chat, room } = await joined({}, [message(80, 70)], { complete: false, partial: true });
  server.says('message', message(90, 80));
  equal([texts(room), room.complete], [['m80', 'm90'], false]);

  server.cut();
  const again = await server.joins({ messages: [message(70, 0), message(80, 70), message(90, 80)] });
  server.cut();
  const resumed = await server.joins({ messages: [] });

  equal([again.payload.since, resumed.payload.since], [undefined, 90]);
  equal([texts(room), room.complete], [['m70', 'm80', 'm90'], true]);
  chat.close();
});

test('a newest page instead of what was missed is whole, unless the server says that it is not', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0)]);

  server.cut();
  await server.joins({ complete: false, more: true, messages: [message(80, 70)] });
  server.cut();
  const whole = await server.joins({ complete: false, partial: true, more: true, messages: [message(90, 80)] });
  server.says('reset', { roomId: 'r', reason: 'slow', since: 90 });
  const pieces = await server.joins({ more: true, messages: [message(80, 70), message(90, 80)] });

  equal([whole.payload.since, pieces.payload.since], [80, undefined]);
  equal(texts(room), ['m80', 'm90']);
  chat.close();
});

test('a history that ends before its end is read on from there', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0)], { continues: true, top: 40 });

  server.says('history', { roomId: 'r', messages: [], continues: false });
  server.cut(); // before the `reset`
  const again = await server.joins({ messages: [message(40, 10)] });

  equal(again.payload.since, 10);
  equal(texts(room), ['m10', 'm40']);
  chat.close();
});

test('a history that comes in parts is whole before the room is live', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0)], { continues: true, top: 40 });
  equal(room.state, 'joining');

  server.says('history', { roomId: 'r', messages: [message(20, 10)], continues: true });
  server.says('history', { roomId: 'r', messages: [message(30, 20), message(40, 30)], continues: false });
  server.says('message', message(50, 40));

  equal(texts(room), ['m10', 'm20', 'm30', 'm40', 'm50']);
  equal(room.state, 'joined');
  equal(server.socket.heard.length, 0, 'nothing was asked for');
  chat.close();
});

test('a connection lost between two parts resumes from the last that came', async () => {
  const { server, chat, room } = await joined({}, [message(10, 0)], { continues: true, top: 30 });
  server.says('history', { roomId: 'r', messages: [message(20, 10)], continues: true });

  server.cut();
  const again = await server.joins({ messages: [message(30, 20)] });

  equal(again.payload.since, 20);
  equal(texts(room), ['m10', 'm20', 'm30']);
  chat.close();
});

test('edits and deletions change the message they name, also one that is loaded later', async () => {
  const { server, chat, room } = await joined(
    { fetch: async () => Response.json({ messages: [message(5, 0)], more: false }) },
    [message(10, 5), message(20, 10)], { more: true });
  const changed = [];
  room.on('changed', (event) => changed.push(event.message.message));

  server.says('message', message(30, 20, { edits: 10, message: 'better' }));
  server.says('message', message(40, 30, { deletes: 20, message: '' }));
  server.says('message', message(50, 40, { edits: 5, message: 'old, but better' }));
  await room.loadOlder();

  equal(texts(room), ['old, but better', 'better', '']);
  equal(room.messages.map((one) => [one.editedAt, one.deleted]), [[50, null], [30, null], [null, true]]);
  equal(changed, ['better', '']);
  chat.close();
});

test('an old edit does not undo a newer one, and nothing brings a deleted message back', async () => {
  const { chat, room } = await joined({}, [
    message(10, 0, { message: 'newest', editedAt: 40 }),
    message(20, 10, { edits: 10, message: '', editedAt: 40 }), // its text went with the change at 40
    message(25, 20, { message: '', deleted: true, editedAt: 50 }),
    message(30, 25, { edits: 25, message: 'still here?' }),
    message(35, 30, { edits: 10, message: 'not so new' }),
  ]);

  equal(texts(room), ['newest', '']);
  chat.close();
});

test('a server that goes away is left when it says', async () => {
  const { server, chat, room } = await joined();

  server.says('goaway', { reconnectInMs: [0, 5] });
  await server.joins();

  equal([server.sockets.length, room.state, chat.status.state], [2, 'joined', 'connected']);
  chat.close();
});

test('one of a crowd that loses its server waits for its turn, and a first failure is a short wait again after that', async () => {
  const { server, chat } = await joined({}, [], { reconnectInMs: [0, 12_000] });
  const { random } = Math;
  Math.random = () => 0.75;
  try {
    server.cut();
    const wait = chat.status.retryAt - Date.now();
    equal(wait > 8_000 && wait <= 9_000, true, `it waits ${wait} ms`);

    server.isUp = false;
    chat.reconnect();
    await eventually(() => chat.status.retryAt > 0);
    const next = chat.status.retryAt - Date.now();
    equal(next <= 1_000, true, `then ${next} ms`);
  } finally {
    Math.random = random;
    chat.close();
  }
});

test('a history whose parts do not fit is asked for again, and not without a pause', async () => {
  const { server, chat } = await joined({}, [message(10, 0)], { continues: true, top: 30 });
  server.says('history', { roomId: 'r', messages: [message(30, 20)], continues: true });
  const again = await server.heard('join');
  server.says('joined', { roomId: 'r', complete: true, top: 30, members: 1, messages: [message(10, 0)], continues: true }, again.id);
  server.says('history', { roomId: 'r', messages: [message(30, 20)], continues: true });

  equal(server.socket.heard.length, 0, 'not at once');
  equal((await server.heard('join')).type, 'join', 'but then');
  chat.close();
});

test('a refused room says why, and is asked for again when joined again', async () => {
  const { server, chat } = await joined();
  const room = chat.join('secret');
  const { id } = await server.heard('join');
  server.says('error', { code: 'forbidden_room', message: 'Not for you.' }, id);
  equal([room.state, room.error?.code], ['refused', 'forbidden_room']);

  chat.join('secret');
  await server.joins();

  equal(room.state, 'joined');
  chat.close();
});

test('a join that is refused for now is asked for again after the time that is told', async () => {
  const { server, chat } = await joined();
  const room = chat.join('busy');
  const { id } = await server.heard('join');
  server.says('error', { code: 'rate_limited', message: 'Slowly.', retryAfterMs: 5 }, id);
  await server.joins();

  equal(room.state, 'joined');
  chat.close();
});

test('members and typing are told, our own typing is not', async () => {
  const { server, chat, room } = await joined();
  const typing = [];
  chat.on('typing', (event) => typing.push(event.username));

  server.says('presence', { roomId: 'r', members: 4 });
  server.says('typing', { roomId: 'r', userId: 'bob', username: 'Bob' });
  server.says('typing', { roomId: 'r', userId: 'ada', username: 'Ada' });
  room.typing();
  room.typing();

  equal(room.members, 4);
  equal(typing, ['Bob']);
  equal(server.socket.heard.map((frame) => frame.type), ['typing'], 'at most one every few seconds');
  chat.close();
});

test('a room that grows long forgets its oldest, unless somebody reads them', async () => {
  const { server, chat, room } = await joined({ keep: 10 });
  room.pinned = true;
  for (let id = 1; id <= 20; id += 1) server.says('message', message(id, id - 1));
  equal(room.messages.length, 20);

  room.pinned = false;
  server.says('message', message(21, 20));

  equal([room.messages.length, room.messages[0].messageId, room.more], [10, 12, true]);
  chat.close();
});

test('a listener that throws harms nobody, and one that is ended hears nothing', async () => {
  const { server, chat, room } = await joined();
  const heard = [];
  const end = room.on('messages', () => heard.push('ended'));
  room.on('messages', () => heard.push('heard'));

  end();
  server.says('message', message(10, 0));

  equal(heard, ['heard']);
  chat.close();
});

test('a room that was left takes nothing any more', async () => {
  const { server, chat, room } = await joined();

  room.leave();
  server.says('message', message(10, 0));

  equal((await server.heard('leave')).payload, { roomId: 'r' });
  equal([room.state, room.messages.length, chat.rooms.size], ['left', 0, 0]);
  await fails(room.send('too late'), 'not_joined');
  chat.close();
});
