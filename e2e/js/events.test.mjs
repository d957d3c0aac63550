/** Without WebSockets: the same rooms over server-sent events and requests. */

import { Rhubarb } from '../../server/static/rhubarb.js';
import { equal, eventually, FakeServer, message, test } from './testing.mjs';

/** A server that is asked over HTTP. */
class FakeHttp {
  /** @type {{ url: URL, init: any }[]} */ asked = [];
  /** The streams that are open, by room. @type {Map<string, ReadableStreamDefaultController<Uint8Array>>} */ streams = new Map();

  fetch = async (/** @type {URL} */ url, /** @type {any} */ init = {}) => {
    this.asked.push({ url, init });
    const room = /^\/rooms\/(.*)\/events$/.exec(url.pathname)?.[1];
    if (room) {
      const body = new ReadableStream({
        start: (stream) => {
          this.streams.set(room, stream);
          init.signal?.addEventListener('abort', () => stream.error(new Error('aborted')));
        },
      });
      return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
    }
    const id = { POST: 30, PATCH: 31, DELETE: 32 }[/** @type {string} */ (init.method)];
    if (id) return Response.json({ messageId: id, duplicate: false });
    return Response.json({ ready: true, messages: [], more: false });
  };

  /** @param {string} event @param {any} data @param {number} [cutAt]  in two pieces */
  async tells(event, data, cutAt = 10) {
    const stream = await eventually(() => this.streams.get('r'), 'a stream');
    const text = new TextEncoder().encode(`event: ${event}\nid: ${data.messageId ?? ''}\ndata: ${JSON.stringify({ roomId: 'r', ...data })}\n\n`);
    stream.enqueue(text.slice(0, cutAt));
    stream.enqueue(text.slice(cutAt));
  }
}

function joined() {
  const http = new FakeHttp();
  const chat = new Rhubarb({
    url: 'http://chat.test', guest: { userId: 'ada', username: 'Ada' }, transports: ['events'],
    fetch: /** @type {any} */ (http.fetch),
  });
  const room = chat.join('r');
  void chat.connect();
  return { http, chat, room };
}

test('a room\'s history and what follows come as events, what is sent as POST', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: true, top: 20, members: 2 });
  await http.tells('message', message(10, 5, { message: 'é' }), 120); // in the middle of a character
  await http.tells('message', message(20, 10));
  await eventually(() => room.state === 'joined');

  const ack = await room.send('hi', { clientId: 'c1' });
  await http.tells('message', message(30, 20, { userId: 'ada', clientId: 'c1', message: 'hi' }));
  await http.tells('message', message(40, 30));
  await http.tells('presence', { members: 3 });
  await eventually(() => room.members === 3);

  equal(room.messages.map((one) => one.message), ['é', 'm20', 'hi', 'm40']);
  equal([ack.messageId, room.more, chat.status.transport], [30, true, 'events']);
  const post = http.asked.find(({ init }) => init.method === 'POST');
  equal([post?.url.href, JSON.parse(post?.init.body)],
    ['http://chat.test/rooms/r/messages?userId=ada&username=Ada', { clientId: 'c1', message: 'hi' }]);
  chat.close();
});

test('a stream that ends is opened again from the last message', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: false, top: 10, members: 1 });
  await http.tells('message', message(10, 0));
  await eventually(() => room.state === 'joined');
  const first = http.streams.get('r');

  first?.close();
  await eventually(() => http.streams.get('r') !== first);
  await http.tells('joined', { complete: true, more: false, top: 20, members: 1 });
  await http.tells('message', message(20, 10));
  await eventually(() => room.messages.length === 2);

  const { url } = /** @type {any} */ (http.asked.findLast(({ url: one }) => one.pathname.endsWith('/events')));
  equal(url.searchParams.get('since'), '10');
  chat.close();
});

test('what cannot be resumed replaces what was there', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: false, top: 10, members: 1 });
  await http.tells('message', message(10, 0));
  await eventually(() => room.state === 'joined');
  const first = http.streams.get('r');
  first?.close();
  await eventually(() => http.streams.get('r') !== first);

  await http.tells('reset', { reason: 'not all since your last message is at hand' });
  await http.tells('joined', { complete: false, more: true, top: 90, members: 1 });
  await http.tells('message', message(90, 80));
  await eventually(() => room.messages[0]?.messageId === 90);

  equal(room.messages.length, 1);
  chat.close();
});

test('edits and deletions are requests', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: false, top: 20, members: 1 });
  await http.tells('message', message(10, 0, { userId: 'ada' }));
  await http.tells('message', message(20, 10, { userId: 'ada' }));
  await eventually(() => room.state === 'joined');

  const edited = await room.edit(10, 'new');
  const deleted = await room.delete(20);

  equal([edited.messageId, deleted.messageId], [31, 32]);
  equal([room.message(10)?.message, room.message(20)?.deleted], ['new', true]);
  const asked = http.asked.filter(({ init }) => ['PATCH', 'DELETE'].includes(init.method));
  const of = `clientId=${deleted.clientId}&userId=ada&username=Ada`;
  equal(asked.map(({ url, init }) => [init.method, url.pathname + url.search, init.body && JSON.parse(init.body)]), [
    ['PATCH', '/rooms/r/messages/10?userId=ada&username=Ada', { clientId: edited.clientId, message: 'new' }],
    ['DELETE', `/rooms/r/messages/20?${of}`, undefined],
  ]);
  chat.close();
});

test('where WebSockets fail and HTTP answers, events are used', async () => {
  const http = new FakeHttp();
  const server = new FakeServer();
  server.isUp = false;
  const chat = new Rhubarb({
    url: 'http://chat.test', fetch: /** @type {any} */ (http.fetch), WebSocket: /** @type {any} */ (server.WebSocket),
  });

  let isConnected = false;
  void chat.connect().then(() => (isConnected = true));
  // Its own waits are random: another attempt may come before ours, or before HTTP has answered.
  await eventually(() => {
    if (chat.status.state === 'offline') chat.reconnect();
    return isConnected;
  });

  equal([chat.status.transport, server.sockets.length >= 3], ['events', true], `${server.sockets.length} sockets`);
  chat.close();
});

test('a stream that breaks off is a lost connection', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: false, top: 10, members: 1 });
  await http.tells('message', message(10, 0));
  await eventually(() => room.state === 'joined');
  const first = http.streams.get('r');

  first?.error(new TypeError('network error'));
  await eventually(() => http.streams.get('r') !== first);
  await http.tells('joined', { complete: true, more: false, top: 10, members: 1 });

  await eventually(() => room.state === 'joined');
  chat.close();
});

test('rooms beyond what a browser has connections for are asked for what is new', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: false, top: 0, members: 1 });
  await eventually(() => room.state === 'joined');
  const rooms = ['s', 't', 'u', 'v'].map((id) => chat.join(id));
  await eventually(() => http.asked.some(({ url }) => url.pathname === '/rooms/v/messages'));

  equal([...http.streams.keys()], ['r', 's', 't', 'u']);
  await eventually(() => rooms[3].state === 'joined');
  chat.close();
});

test('a token that has ended is replaced for a request over HTTP', async () => {
  const tokens = [];
  const chat = new Rhubarb({
    url: 'http://chat.test/under/here', transports: ['websocket'], WebSocket: /** @type {any} */ (new FakeServer().WebSocket),
    token: async () => `t${tokens.length + 1}`,
    fetch: /** @type {any} */ (async (/** @type {URL} */ url, /** @type {any} */ { headers }) => {
      tokens.push(`${url.pathname} ${headers.authorization}`);
      return tokens.length > 1 ? Response.json({ messages: [message(5, 0)], more: false })
        : Response.json({ code: 'expired', message: 'It has ended.' }, { status: 401 });
    }),
  });

  const older = await chat.join('r').loadOlder();

  equal(older.length, 1);
  equal(tokens, ['/under/here/rooms/r/messages Bearer t1', '/under/here/rooms/r/messages Bearer t2']);
});
