/** Sending: nothing written is lost, overtaken or doubled. */

import { Rhubarb } from '../../server/static/rhubarb.js';
import { equal, eventually, fails, FakeServer, FakeStorage, message, test } from './testing.mjs';

/** @param {object} [options] */
async function joined(options = {}) {
  const server = new FakeServer();
  const chat = client(server, options);
  const room = chat.join('r');
  void chat.connect();
  await server.joins();
  return { server, chat, room };
}

/** @param {FakeServer} server @param {object} [options] */
const client = (server, options = {}) => new Rhubarb({
  url: 'http://chat.test', guest: { userId: 'ada', username: 'Ada' }, transports: ['websocket'],
  WebSocket: /** @type {any} */ (server.WebSocket), ...options,
});

test('what is sent resolves with its acknowledgement, and stands in the room at once', async () => {
  const { server, chat, room } = await joined();

  const sent = room.send('hi', { clientId: 'c1' });
  equal(room.outbox.map((entry) => [entry.message, entry.state]), [['hi', 'sent']]);
  equal((await server.acks(10)).payload, { roomId: 'r', clientId: 'c1', message: 'hi' });

  equal(await sent, { duplicate: false, roomId: 'r', clientId: 'c1', messageId: 10 });
  equal([room.outbox.length, room.messages.map((one) => [one.messageId, one.username])], [0, [[10, 'Ada']]]);
  chat.close();
});

test('a delivery that is faster than the acknowledgement is the message itself', async () => {
  const { server, chat, room } = await joined();

  const sent = room.send('hi', { clientId: 'c1' });
  const { id } = await server.heard('message');
  server.says('message', message(10, 0, { userId: 'ada', clientId: 'c1', message: 'hi' }));
  equal((await sent).messageId, 10);
  server.says('ack', { roomId: 'r', clientId: 'c1', messageId: 10 }, id);

  equal(room.messages.length, 1);
  chat.close();
});

test('another person\'s message with our client id is not taken for ours', async () => {
  const { server, chat, room } = await joined();

  void room.send('hi', { clientId: 'c1' });
  server.says('message', message(10, 0, { userId: 'mallory', clientId: 'c1', message: 'not yours' }));

  equal(room.outbox.length, 1);
  chat.close();
});

test('one message is under way at a time, so a refused one is not overtaken', async () => {
  const { server, chat, room } = await joined();
  const order = [];

  void room.send('first').then(() => order.push('first'));
  void room.send('second').then(() => order.push('second'));
  const first = await server.heard('message');
  equal(server.socket.heard.length, 0);
  server.says('error', { code: 'unavailable', message: 'Redis is away', retryAfterMs: 5 }, first.id);
  const again = await server.acks(10);
  await server.acks(20);
  await eventually(() => order.length === 2);

  equal([first.payload.clientId === again.payload.clientId, order], [true, ['first', 'second']]);
  chat.close();
});

test('what was written offline, edits and deletions included, is sent in order when there is a connection', async () => {
  const server = new FakeServer();
  server.isUp = false;
  const chat = client(server);
  const room = chat.join('r');
  void chat.connect();
  const outcome = Promise.all([room.send('one'), room.edit(5, 'new'), room.delete(6)]);

  server.isUp = true;
  chat.reconnect();
  await server.joins({ messages: [message(5, 0), message(6, 5)] });
  equal((await server.acks(10)).payload.message, 'one');
  for (const [type, messageId] of [['edit', 5], ['delete', 6]]) {
    const frame = await server.heard(type);
    equal([frame.payload.messageId, frame.payload.message], [messageId, type === 'edit' ? 'new' : null]);
    server.says('ack', { ...frame.payload, messageId: messageId + 10 }, frame.id);
  }

  equal((await outcome).map((ack) => ack.messageId), [10, 15, 16]);
  equal(room.messages.map((one) => one.message), ['new', '', 'one']);
  chat.close();
});

test('what was under way when the connection ended is sent again under the same client id', async () => {
  const { server, chat, room } = await joined();
  const sent = room.send('hi');
  const first = await server.heard('message');

  server.cut();
  await server.joins();
  const again = await server.acks(10, { duplicate: true });

  equal(again.payload.clientId, first.payload.clientId);
  equal((await sent).duplicate, true);
  chat.close();
});

test('a resume that brings our own message settles it without a resend', async () => {
  const { server, chat, room } = await joined();
  const sent = room.send('hi', { clientId: 'c1' });
  await server.heard('message');

  server.cut();
  await server.joins({ messages: [message(10, 0, { userId: 'ada', clientId: 'c1', message: 'hi' })] });

  equal((await sent).messageId, 10);
  equal(server.socket.heard.length, 0);
  chat.close();
});

test('what the server will never take fails, keeps its place for a retry, and holds nothing up', async () => {
  const { server, chat, room } = await joined();
  const bad = room.send('bad');
  const good = room.send('good');
  const { id } = await server.heard('message');
  server.says('error', { code: 'bad_message', message: 'Too long.' }, id);
  await fails(bad, 'bad_message');
  await server.acks(10);
  await good;
  equal(room.outbox.map((entry) => [entry.message, entry.state, entry.error]), [['bad', 'failed', 'Too long.']]);

  const retried = room.retry(room.outbox[0].clientId);
  await server.acks(20);

  equal([(await retried).messageId, room.outbox.length], [20, 0]);
  chat.close();
});

test('what is dropped is gone, and its promise knows', async () => {
  const server = new FakeServer();
  const chat = client(server);
  const room = chat.join('r');
  const sent = room.send('never mind', { clientId: 'c1' });

  room.discard('c1');

  await fails(sent, 'discarded');
  equal(room.outbox.length, 0);
});

test('the queue is bounded', async () => {
  const chat = client(new FakeServer(), { queueLimit: 2 });
  void chat.join('r').send('one');
  void chat.join('s').send('two');

  await fails(chat.join('r').send('three'), 'queue_full');

  equal(chat.join('r').outbox.length, 1);
});

test('what was unsent when the page ended is sent by the next load, for the same person only', async () => {
  const storage = new FakeStorage();
  const server = new FakeServer();
  void client(server, { storage }).join('r').send('kept', { clientId: 'c1' });

  const stranger = client(server, { storage, guest: { userId: 'eve' } });
  equal(stranger.join('r').outbox.length, 0);
  const chat = client(server, { storage });
  chat.join('r');
  void chat.connect();
  await server.joins();
  equal((await server.acks(10)).payload, { roomId: 'r', clientId: 'c1', message: 'kept' });
  chat.close();

  equal(client(server, { storage }).join('r').outbox.length, 0);
});

test('a message that must be archived shows at once, holds nothing up, and resolves when it is', async () => {
  const { server, chat, room } = await joined();
  let isArchived = false;
  const safe = room.send('safe', { ack: 'db', clientId: 'c1' });
  void safe.then(() => (isArchived = true));
  const quick = room.send('quick');
  const frame = await server.heard('message');
  equal(frame.payload.ack, 'db');

  server.says('message', message(10, 0, { userId: 'ada', clientId: 'c1', message: 'safe' }));
  await server.acks(20);
  await quick;
  equal([isArchived, room.messages.map((one) => one.message)], [false, ['safe', 'quick']]);

  server.cut(); // its acknowledgement is asked for again
  await server.joins();
  equal((await server.acks(10, { archived: true, duplicate: true })).payload.ack, 'db');

  equal((await safe).archived, true);
  equal([room.outbox.length, room.messages.length], [0, 2]);
  chat.close();
});

test('a message that lost five connections waits for the person', async () => {
  const { server, chat, room } = await joined();
  const sent = room.send('poison?');
  for (let n = 0; n < 5; n += 1) {
    await server.heard('message');
    server.cut();
    chat.reconnect();
    await server.joins();
  }

  await fails(sent, 'no_answer');
  equal(server.socket.heard.length, 0);
  chat.close();
});
