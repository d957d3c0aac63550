/** Without WebSockets: the same rooms over server-sent events and requests. */

import { Rhubarb } from '../../server/static/rhubarb.js';
import { equal, eventually, FakeServer, message, test } from './testing.mjs';

/** @typedef {{ rooms: string[], query: URLSearchParams, places: string[], body: ReadableStreamDefaultController<Uint8Array>, isLeft: boolean }} FakeStream */

/** A server that is asked over HTTP. */
class FakeHttp {
  /** @type {{ url: URL, init: any }[]} */ asked = [];
  /** Those that were opened, oldest first. @type {FakeStream[]} */ streams = [];
  /** What it refuses: a code by room. @type {Record<string, string>} */ refuses = {};
  /** What the next stream waits for. @type {Promise<void>} */ #held = Promise.resolve();

  fetch = async (/** @type {URL} */ url, /** @type {any} */ init = {}) => {
    this.asked.push({ url, init });
    const rooms = url.pathname === '/events' ? url.searchParams.getAll('room') : url.pathname.split('/').slice(2, 3);
    const code = rooms.map((room) => this.refuses[room]).find(Boolean);
    if (code) return Response.json({ code, message: 'No.' }, { status: 403 });
    if (url.pathname === '/events') {
      await this.#held;
      return this.#open(rooms, url.searchParams, init.signal);
    }
    const id = { POST: 30, PATCH: 31, DELETE: 32 }[/** @type {string} */ (init.method)];
    if (id) return Response.json({ messageId: id, duplicate: false });
    return Response.json({ ready: true, messages: [], more: false });
  };

  /** @param {string[]} rooms @param {URLSearchParams} query @param {AbortSignal} signal */
  #open(rooms, query, signal) {
    const places = /** @type {string} */ (query.get('since')).split(',');
    const content = new ReadableStream({
      start: (body) => {
        const stream = { rooms, query, places, body, isLeft: false };
        this.streams.push(stream);
        signal.addEventListener('abort', () => {
          stream.isLeft = true;
          body.error(new Error('aborted'));
        });
      },
    });
    return new Response(content, { headers: { 'content-type': 'text/event-stream' } });
  }

  /** Opens no stream until what it returns is called. */
  hold() {
    /** @type {() => void} */ let go = () => {};
    this.#held = new Promise((resolve) => (go = resolve));
    return go;
  }

  get last() {
    return /** @type {FakeStream} */ (this.streams.at(-1));
  }

  /** The nth stream, once it is there. @param {number} n */
  async stream(n) {
    await eventually(() => this.streams.length >= n, `stream ${n}`);
    return this.last;
  }

  /** Over the last stream. @param {string} event @param {any} data @param {number} [cutAt]  in two pieces */
  async tells(event, data, cutAt = 10) {
    const { rooms, places, body } = await this.stream(1);
    const payload = { roomId: 'r', ...data };
    const place = event === 'reset' ? '-' : data.messageId;
    if (place) places[rooms.indexOf(payload.roomId)] = String(place);
    const id = place ? `id: ${places}\n` : '';
    const text = new TextEncoder().encode(`event: ${event}\n${id}data: ${JSON.stringify(payload)}\n\n`);
    body.enqueue(text.slice(0, cutAt));
    body.enqueue(text.slice(cutAt));
  }

  /** A room's history, whole. @param {{ roomId?: string }} joined @param {object[]} [messages] */
  async begins(joined, messages = []) {
    const { roomId = 'r' } = joined;
    await this.tells('joined', joined);
    for (const one of messages) await this.tells('message', one);
    await this.tells('live', { roomId });
  }
}

/** A client of it that uses events alone. @param {FakeHttp} http */
function clientOf(http) {
  return new Rhubarb({
    url: 'http://chat.test', guest: { userId: 'ada', username: 'Ada' }, transports: ['events'],
    fetch: /** @type {any} */ (http.fetch),
  });
}

function joined() {
  const http = new FakeHttp();
  const chat = clientOf(http);
  const room = chat.join('r');
  void chat.connect();
  return { http, chat, room };
}

test('a room\'s history and what follows come as events, what is sent as POST', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: true, top: 20, members: 2 });
  await http.tells('message', message(10, 5, { message: 'é' }), 120); // in the middle of a character
  await http.tells('message', message(20, 10));
  await http.tells('live', {});
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
  await http.begins({ complete: true, more: false, top: 10, members: 1 }, [message(10, 0)]);
  await eventually(() => room.state === 'joined');

  http.last.body.close();
  await http.stream(2);
  await http.begins({ complete: true, more: false, top: 20, members: 1 }, [message(20, 10)]);
  await eventually(() => room.messages.length === 2);

  equal(http.last.query.get('since'), '10');
  chat.close();
});

test('what cannot be resumed replaces what was there', async () => {
  const { http, chat, room } = joined();
  await http.begins({ complete: true, more: false, top: 10, members: 1 }, [message(10, 0)]);
  await eventually(() => room.state === 'joined');
  http.last.body.close();
  await http.stream(2);

  await http.tells('reset', { reason: 'not all since your last message is at hand' });
  await http.begins({ complete: false, more: true, top: 90, members: 1 }, [message(90, 80)]);
  await eventually(() => room.messages[0]?.messageId === 90);

  equal(room.messages.length, 1);
  chat.close();
});

test('edits and deletions are requests', async () => {
  const { http, chat, room } = joined();
  await http.begins({ complete: true, more: false, top: 20, members: 1 }, [message(10, 0, { userId: 'ada' }), message(20, 10, { userId: 'ada' })]);
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
  await http.begins({ complete: true, more: false, top: 10, members: 1 }, [message(10, 0)]);
  await eventually(() => room.state === 'joined');

  http.last.body.error(new TypeError('network error'));
  await http.stream(2);
  await http.begins({ complete: true, more: false, top: 10, members: 1 });

  await eventually(() => room.state === 'joined');
  chat.close();
});

test('one stream has all rooms, and goes on where it was when they become others', async () => {
  const { http, chat, room: r } = joined();
  const s = chat.join('s');
  await http.begins({ complete: true, more: false, top: 10, members: 1 }, [message(10, 0)]);
  await http.begins({ roomId: 's', complete: true, more: false, top: 7, members: 1 }, [message(7, 0, { roomId: 's' })]);
  await eventually(() => r.state === 'joined' && s.state === 'joined');
  const [first] = http.streams;

  const t = chat.join('t');
  await http.stream(2);
  await http.tells('joined', { complete: true, more: false, top: 10, members: 2 });
  await http.tells('message', message(20, 10)); // came meanwhile
  await http.tells('live', {});
  await http.begins({ roomId: 't', complete: true, more: false, top: 0, members: 1 });
  await eventually(() => t.state === 'joined' && r.messages.length === 2);
  chat.rooms.get('s')?.leave();
  await http.stream(3);

  equal([first.rooms, first.query.get('since'), first.isLeft], [['r', 's'], '-,-', true]);
  equal([http.streams[1].rooms, http.streams[1].query.get('since')], [['t', 'r', 's'], '-,10,7'], 'what is asked for comes first');
  equal([http.last.rooms, http.last.query.get('since'), http.last.isLeft], [['r', 't'], '20,-', false]);
  equal(http.streams.length, 3);
  chat.close();
});

test('a history that is cut short by the next stream comes anew, and is whole', async () => {
  const { http, chat, room: r } = joined();
  await http.tells('joined', { complete: true, more: true, top: 30, members: 1 });
  await http.tells('message', message(10, 5));
  const s = chat.join('s');
  await http.stream(2);
  await http.tells('reset', { reason: 'not all was at hand before' });
  await http.tells('joined', { complete: true, more: true, top: 30, members: 1 });
  for (const [id, prev] of [[10, 5], [20, 10], [30, 20]]) await http.tells('message', message(id, prev));
  await http.tells('live', {});
  await http.begins({ roomId: 's', complete: true, more: false, top: 0, members: 1 });
  await eventually(() => r.state === 'joined' && s.state === 'joined');

  equal(http.last.query.get('since'), '-,-', 'from the beginning');
  equal(r.messages.map(({ messageId }) => messageId), [10, 20, 30]);
  chat.close();
});

test('a history that is whole before the next stream brings it again is not replaced', async () => {
  const { http, chat, room: r } = joined();
  let replaced = 0;
  r.on('replaced', () => (replaced += 1));
  await http.tells('joined', { complete: true, more: true, top: 20, members: 1 });
  await http.tells('message', message(10, 5));
  const answer = http.hold(); // of the next stream
  chat.join('s');
  await eventually(() => http.asked.filter(({ url }) => url.pathname === '/events').length === 2);
  await http.tells('message', message(20, 10));
  await http.tells('live', {});
  await eventually(() => r.state === 'joined');
  answer();
  await http.stream(2);
  await http.tells('reset', { reason: 'not all was at hand before' });
  await http.tells('joined', { complete: true, more: true, top: 30, members: 1 });
  for (const [id, prev] of [[10, 5], [20, 10], [30, 20]]) await http.tells('message', message(id, prev));
  await http.tells('live', {});
  await eventually(() => r.messages.length === 3);

  equal([replaced, r.state, http.streams.length], [1, 'joined', 2]);
  chat.close();
});

test('a room that the stream begins anew is asked for by nobody else', async () => {
  const { http, chat, room } = joined();
  await http.begins({ complete: false, partial: true, more: true, top: 20, members: 1 }, [message(20, 10)]);
  await eventually(() => room.isLoaded && !room.complete);

  await http.tells('reset', { reason: 'all of it is at hand now' });
  await http.begins({ complete: true, more: false, top: 20, members: 1 }, [message(10, 0), message(20, 10)]);
  await eventually(() => room.complete && room.state === 'joined');

  equal(room.messages.map(({ messageId }) => messageId), [10, 20]);
  equal(http.streams.length, 1);
  chat.close();
});

test('a room that may not be entered keeps no other one out', async () => {
  const { http, chat, room } = joined();
  await http.begins({ complete: true, more: false, top: 0, members: 1 });
  await eventually(() => room.state === 'joined');
  http.refuses = { shut: 'forbidden_room' };
  const [shut, open] = ['shut', 'open'].map((id) => chat.join(id));
  await eventually(() => shut.state === 'refused');
  await http.stream(2);
  await http.begins({ roomId: 'open', complete: true, more: false, top: 0, members: 1 });
  await eventually(() => open.state === 'joined');

  equal([shut.error?.code, room.state, http.last.rooms], ['forbidden_room', 'joined', ['open', 'r']]);
  equal(http.streams[0].isLeft, true, 'only now');
  chat.close();
});

test('a history that pauses is shown in parts, and is whole', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: true, top: 30, members: 1 });
  await http.tells('message', message(10, 5));
  await eventually(() => room.messages.length === 1);
  const before = room.state;
  for (const [id, prev] of [[20, 10], [30, 20]]) await http.tells('message', message(id, prev));
  await http.tells('live', {});
  await eventually(() => room.state === 'joined');
  await http.tells('message', message(40, 30));
  await eventually(() => room.messages.length === 4);

  equal(before, 'joining');
  equal(room.messages.map(({ messageId }) => messageId), [10, 20, 30, 40]);
  equal(http.streams.length, 1);
  chat.close();
});

test('a history that pauses when the next stream comes goes on there', async () => {
  const { http, chat, room: r } = joined();
  await http.tells('joined', { complete: true, more: true, top: 30, members: 1 });
  await http.tells('message', message(10, 5));
  await eventually(() => r.messages.length === 1);
  const s = chat.join('s');
  await http.stream(2);
  await http.begins({ roomId: 's', complete: true, more: false, top: 0, members: 1 });
  await http.tells('joined', { complete: true, more: true, top: 30, members: 1 });
  for (const [id, prev] of [[20, 10], [30, 20]]) await http.tells('message', message(id, prev));
  await http.tells('live', {});
  await eventually(() => r.state === 'joined' && s.state === 'joined');

  equal(http.last.query.get('since'), '-,10');
  equal(r.messages.map(({ messageId }) => messageId), [10, 20, 30]);
  chat.close();
});

test('a history that pauses and is void then is replaced', async () => {
  const { http, chat, room } = joined();
  await http.tells('joined', { complete: true, more: true, top: 30, members: 1 });
  await http.tells('message', message(10, 5));
  await eventually(() => room.messages.length === 1);
  await http.tells('reset', { reason: 'the rest of the history is not at hand' });
  await http.begins({ complete: true, more: true, top: 40, members: 1 }, [message(40, 30)]);
  await eventually(() => room.state === 'joined');

  equal(room.messages.map(({ messageId }) => messageId), [40]);
  equal(http.streams.length, 1);
  chat.close();
});

test('a room that has no right name keeps no other one out', async () => {
  const http = new FakeHttp();
  http.refuses = { 'wrong': 'bad_request' };
  const chat = clientOf(http);
  const [a, wrong, b] = ['a', 'wrong', 'b'].map((id) => chat.join(id));
  void chat.connect();
  await http.stream(1);
  for (const roomId of ['a', 'b']) {
    await http.begins({ roomId, complete: true, more: false, top: 0, members: 1 });
  }
  await eventually(() => a.state === 'joined' && b.state === 'joined');

  equal([wrong.state, wrong.error?.code, http.last.rooms], ['refused', 'bad_request', ['a', 'b']]);
  chat.close();
});

test('a room that is left while another is refused is let go', async () => {
  const { http, chat, room } = joined();
  await http.begins({ complete: true, more: false, top: 0, members: 1 });
  await eventually(() => room.state === 'joined');
  http.refuses = { shut: 'forbidden_room' };
  room.leave();
  const shut = chat.join('shut');
  await eventually(() => shut.state === 'refused');

  await eventually(() => http.last.isLeft);
  equal(http.streams.length, 1);
  chat.close();
});

test('a source of tokens that fails is asked again', async () => {
  const http = new FakeHttp();
  let asked = 0;
  const chat = new Rhubarb({
    url: 'http://chat.test', transports: ['events'], fetch: /** @type {any} */ (http.fetch),
    token: () => ((asked += 1) < 3 ? Promise.reject(new TypeError('no')) : 't'),
  });
  const room = chat.join('r');
  void chat.connect();
  await http.begins({ complete: true, more: false, top: 0, members: 1 });
  await eventually(() => room.state === 'joined');

  equal(asked, 3);
  chat.close();
});

test('rooms beyond those that a stream takes are asked for what is new', async () => {
  const { http, chat } = joined();
  const names = Array.from({ length: 20 }, (_, i) => `n${i}`);
  const rooms = names.map((id) => chat.join(id));
  await eventually(() => http.asked.some(({ url }) => url.pathname === '/rooms/n19/messages'));

  equal((await http.stream(1)).rooms, ['r', ...names.slice(0, 19)]);
  await eventually(() => rooms[19].state === 'joined');
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
