/**
 * The same frames without a WebSocket: each joined room is a stream of server-sent events, what we
 * send, edit and delete a request. Read with `fetch`, because an EventSource cannot carry a token in a header.
 */

/** @typedef {import('./http.js').Http} Http */
/** @typedef {import('./link.js').Connection} Connection */
/** @typedef {import('./link.js').Ends} Ends */
/** @typedef {import('./error.js').RhubarbError} RhubarbError */

/**
 * A browser opens six connections to a server over HTTP/1.1, and each stream takes one for good: the
 * rest are for sending and paging. Rooms beyond that are asked now and then.
 */
const STREAMS_AT_MOST = 4;
const ASK_EVERY_MS = 5_000;
const PAUSE_MS = 250;

/** @param {Http} http @param {Ends} ends @returns {Connection} */
export function openEvents(http, ends) {
  /** @type {Map<string, AbortController>} */
  const streams = new Map();
  let isOpen = false;
  let isClosed = false;

  const end = () => {
    isClosed = true;
    streams.forEach((stream) => stream.abort());
    streams.clear();
  };
  const lost = () => {
    if (isClosed) return;
    end();
    ends.onClose();
  };
  const told = (/** @type {object} */ frame) => isClosed || ends.onFrame(frame);
  const refused = (/** @type {number} */ id) => (/** @type {RhubarbError} */ error) => {
    if (error.code === 'unreachable') return lost();
    const { code = 'unreachable', message, retryAfterMs } = error;
    told({ type: 'error', id, payload: { code, message, retryAfterMs } });
  };

  const acknowledge = (/** @type {number} */ id, /** @type {Promise<object>} */ answer) =>
    void answer.then((ack) => told({ type: 'ack', id, payload: ack }), refused(id));

  /** @type {Record<string, (id: number, payload: any) => void>} */
  const does = {
    join: (id, { roomId, since, limit }) => {
      streams.get(roomId)?.abort();
      streams.delete(roomId);
      const stream = new AbortController();
      const { signal } = stream;
      const keepUp = streams.size < STREAMS_AT_MOST ? follow : poll;
      streams.set(roomId, stream);
      let isIn = false;
      const show = (/** @type {any} */ frame) => {
        isIn ||= frame.type === 'joined';
        told(frame);
      };
      keepUp(http, { id, roomId, since, limit }, signal, show).then(() => signal.aborted || lost(), (error) => {
        if (signal.aborted) return;
        streams.delete(roomId);
        if (!error.code) lost(); // it broke off
        else if (isIn) told({ type: 'left', payload: { roomId } }); // the next join tells why
        else refused(id)(error);
      });
    },
    leave: (id, { roomId }) => {
      streams.get(roomId)?.abort();
      streams.delete(roomId);
    },
    message: (id, { roomId, ...body }) => acknowledge(id, http.send(messagesOf(roomId), body)),
    edit: (id, { roomId, messageId, ...body }) =>
      acknowledge(id, http.send(`${messagesOf(roomId)}/${messageId}`, body, 'PATCH')),
    delete: (id, { roomId, messageId, ...query }) =>
      acknowledge(id, http.send(`${messagesOf(roomId)}/${messageId}?${new URLSearchParams(query)}`, undefined, 'DELETE')),
    ping: (id) => void http.get('/health/live').then(() => told({ type: 'pong', id }), refused(id)),
  };

  http.get('/health/ready').then(() => {
    if (isClosed) return;
    isOpen = true;
    ends.onOpen();
  }, lost);
  return {
    send: (/** @type {any} */ { type, id, payload }) => {
      if (!isOpen || isClosed) return false;
      if (does[type]) does[type](id, payload);
      else if (id) told({ type: 'error', id, payload: { code: 'unknown_type', message: `Not without WebSockets: ${type}.` } });
      return true;
    },
    close: end,
  };
}

/** @param {string} roomId */
const messagesOf = (roomId) => `/rooms/${encodeURIComponent(roomId)}/messages`;

/**
 * Joins a room: what there is, then what comes, as the frames that a WebSocket would bring.
 * @param {Http} http
 * @param {{ id: number, roomId: string, since?: number, limit?: number }} join
 * @param {AbortSignal} signal
 * @param {(frame: object) => void} told
 */
async function follow(http, { id, roomId, since, limit = 100 }, signal, told) {
  const from = since ? `since=${since}` : `limit=${limit}`;
  const headers = { accept: 'text/event-stream' };
  const path = `/rooms/${encodeURIComponent(roomId)}/events?${from}`;
  const stream = await http.open(path, { headers, signal, cache: 'no-store' });
  const beginning = new Beginning((page) => told({ type: 'joined', id, payload: page }));
  signal.addEventListener('abort', () => beginning.end());
  await readEvents(stream, ({ event, data }) => {
    const payload = JSON.parse(data);
    if (!beginning.takes(event, payload)) told({ type: event, payload });
  }).finally(() => beginning.end());
}

/**
 * Joins a room, and asks for what is new from time to time.
 * @param {Http} http
 * @param {{ id: number, roomId: string, since?: number, limit?: number }} join
 * @param {AbortSignal} signal
 * @param {(frame: object) => void} told
 */
async function poll(http, { id, roomId, since, limit = 100 }, signal, told) {
  const room = `/rooms/${encodeURIComponent(roomId)}`;
  const news = (/** @type {number} */ after) => http.get(`${room}/messages?after=${after}&limit=500`);
  const page = since ? await news(since) : await http.get(`${room}/messages?limit=${Math.min(limit, 500)}`);
  let top = page.messages.at(-1)?.messageId ?? since ?? 0;
  told({ type: 'joined', id, payload: { roomId, complete: true, top, members: 0, ...page } });
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
    if (signal.aborted) return;
    const { messages } = await news(top);
    messages.forEach((/** @type {object} */ message) => told({ type: 'message', payload: { roomId, ...message } }));
    top = messages.at(-1)?.messageId ?? top;
  }
}

/**
 * The history at the beginning of a stream. It comes message by message; a room takes it as one page,
 * up to the id that `joined` names.
 */
class Beginning {
  /** @type {(page: object) => void} */ #told;
  /** @type {any} */ #joined;
  /** @type {any[]} */ #messages = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #isOver = false;

  /** @param {(page: object) => void} told */
  constructor(told) {
    this.#told = told;
  }

  /** @param {string} event @param {any} payload @returns {boolean} whether it was a part of it */
  takes(event, payload) {
    if (this.#isOver) return event === 'joined';
    if (event === 'joined') this.#joined = payload;
    else if (event === 'message') this.#messages.push(payload);
    else if (event !== 'reset') return false;
    else {
      // `joined` says the same: not complete. Or all comes again.
      this.#joined = undefined;
      this.#messages = [];
    }
    if (this.#joined && (payload.messageId ?? 0) >= this.#joined.top) this.#tell();
    else this.#tellSoon();
    return true;
  }

  end() {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  /** The last one may be none that is shown: what pauses has come. */
  #tellSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#joined && this.#tell(), PAUSE_MS);
  }

  #tell() {
    this.end();
    this.#told({ ...this.#joined, messages: this.#messages });
  }
}

/**
 * Reads a stream of events until it ends.
 * @param {Response} response @param {(event: { event: string, data: string }) => void} take
 */
export async function readEvents(response, take) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? '';
    blocks.map(readEvent).forEach((event) => event.data && take(event));
  }
}

/** @param {string} block the lines of one event */
function readEvent(block) {
  let event = 'message';
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === 'event') event = value;
    if (name === 'data') data.push(value);
  }
  return { event, data: data.join('\n') };
}
