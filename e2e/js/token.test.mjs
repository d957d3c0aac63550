/** Tokens: told first, renewed in time, replaced when refused, and given up on when none will do. */

import { Rhubarb } from '../../server/static/rhubarb.js';
import { equal, eventually, fails, FakeServer, test } from './testing.mjs';

const ADA = { userId: 'ada', username: 'Ada', tier: 'free' };

/** @param {FakeServer} server @param {any} token */
function client(server, token) {
  const chat = new Rhubarb({
    url: 'http://chat.test', token, transports: ['websocket'], WebSocket: /** @type {any} */ (server.WebSocket),
  });
  return { chat, room: chat.join('r'), connected: chat.connect() };
}

/** A function that gives t1, t2 and so on. */
function counting() {
  let n = 0;
  return async () => `t${(n += 1)}`;
}

/** @param {FakeServer} server @param {object} [more] */
async function authed(server, more = {}) {
  const { id, payload } = await server.heard('auth');
  server.says('authed', { ...ADA, expiresInMs: 600_000, ...more }, id);
  return payload.token;
}

test('the token is the first that is told, never in the address, and rooms follow', async () => {
  const server = new FakeServer();
  const { chat, room, connected } = client(server, counting());

  await eventually(() => server.socket?.heard.length);
  equal(server.socket.heard.map((frame) => frame.type), ['auth']);
  equal(chat.status.state, 'connecting');
  equal(await authed(server), 't1');
  await connected;
  await server.joins();

  equal(server.socket.address, 'ws://chat.test/ws');
  equal([chat.userId, chat.username, chat.status.state, room.state], ['ada', 'Ada', 'connected', 'joined']);
  chat.close();
});

test('a token that can be read says who we are before any connection', () => {
  const body = btoa(JSON.stringify({ sub: 'zoe', name: 'Zoe' }));
  const chat = new Rhubarb({ url: 'http://chat.test', token: `x.${body}.y`, WebSocket: /** @type {any} */ (new FakeServer().WebSocket) });

  equal([chat.userId, chat.username], ['zoe', 'Zoe']);
});

test('a token is renewed in band before it ends, and no room notices', async () => {
  const server = new FakeServer();
  const { chat, room } = client(server, counting());
  await authed(server, { expiresInMs: 20 });
  await server.joins();

  equal(await authed(server), 't2');

  equal([server.sockets.length, server.socket.heard.length, room.state], [1, 0, 'joined']);
  chat.close();
});

test('a message that meets an expired token is sent again under the next', async () => {
  const server = new FakeServer();
  const { chat, room } = client(server, counting());
  await authed(server);
  await server.joins();
  const sent = room.send('hi');
  const first = await server.heard('message');

  server.says('error', { code: 'expired', message: 'Your token has ended.', retryAfterMs: 1 }, first.id);
  equal(await authed(server), 't2');
  const again = await server.acks(10);

  equal(again.payload.clientId, first.payload.clientId);
  equal((await sent).messageId, 10);
  chat.close();
});

test('a join that meets an expired token is made under the next', async () => {
  const server = new FakeServer();
  const { chat, room } = client(server, counting());
  await authed(server);
  const { id } = await server.heard('join');

  server.says('error', { code: 'expired', message: 'Your token has ended.' }, id);
  await authed(server);
  await server.joins();

  equal(room.state, 'joined');
  chat.close();
});

test('where no token will do the client stops, says why, and begins anew with another', async () => {
  const server = new FakeServer();
  const { chat, room, connected } = client(server, counting());
  for (let n = 0; n < 3; n += 1) {
    const { id } = await server.heard('auth');
    server.says('error', { code: 'unauthorized', message: 'Who?' }, id);
  }
  await fails(connected, 'unauthorized');
  equal([chat.status.state, chat.status.error?.code], ['refused', 'unauthorized']);

  chat.setToken('good');
  equal(await authed(server), 'good');
  await server.joins();

  equal([chat.status.state, room.state], ['connected', 'joined']);
  chat.close();
});

test('a guest who is not let in is told', async () => {
  const server = new FakeServer();
  const chat = new Rhubarb({ url: 'http://chat.test', transports: ['websocket'], WebSocket: /** @type {any} */ (server.WebSocket) });
  chat.join('r');
  void chat.connect();
  const { id } = await server.heard('join');

  server.says('error', { code: 'unauthorized', message: 'Send a token first.' }, id);

  equal(chat.status.error?.code, 'unauthorized');
});

test('a place where tokens come from that fails is asked again', async () => {
  const server = new FakeServer();
  let asked = 0;
  const { chat } = client(server, async () => {
    asked += 1;
    if (asked === 1) throw new Error('away');
    return 'late';
  });

  equal(await authed(server), 'late');

  chat.close();
});

test('a room that a new token does not allow is refused, the others stay', async () => {
  const server = new FakeServer();
  const { chat, room } = client(server, counting());
  const other = chat.join('s');
  await authed(server);
  await server.joins();
  await server.joins();

  chat.setToken('for s only');
  await authed(server);
  server.says('error', { roomId: 'r', code: 'forbidden_room', message: 'Not any more.' });

  equal([room.state, room.error?.code, other.state], ['refused', 'forbidden_room', 'joined']);
  chat.close();
});

test('a server that says a token is about to end gets the next; one that put us out is asked again', async () => {
  const server = new FakeServer();
  const { chat, room } = client(server, counting());
  await authed(server);
  await server.joins();

  server.says('error', { code: 'expired', message: 'It expires in 5 s.' });
  equal(await authed(server), 't2');
  equal(server.socket.heard.length, 0);
  server.says('left', { roomId: 'r' });
  await server.joins();

  equal(room.state, 'joined');
  chat.close();
});

test('too many connections of ours are waited for', async () => {
  const server = new FakeServer();
  const { chat, connected } = client(server, counting());
  const { id } = await server.heard('auth');
  server.says('error', { code: 'too_many_connections', message: 'Close one.', retryAfterMs: 1 }, id);

  await authed(server);
  await connected;

  equal(chat.status.state, 'connected');
  chat.close();
});
