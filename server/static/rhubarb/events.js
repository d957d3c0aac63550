/**
 * The same frames without a WebSocket: joined rooms come over a stream of server-sent events, what we
 * send, edit and delete goes as requests. Read with `fetch`, because an EventSource cannot carry a token in a header.
 */

import { Stream } from './stream.js';

/** @typedef {import('./http.js').Http} Http */
/** @typedef {import('./link.js').Connection} Connection */
/** @typedef {import('./link.js').Ends} Ends */
/** @typedef {import('./error.js').RhubarbError} RhubarbError */

/** How often rooms beyond those of a stream are asked for what is new. */
const ASK_EVERY_MS = 5_000;

/** @param {Http} http @param {Ends} ends @returns {Connection} */
export function openEvents(http, ends) {
  /** Rooms beyond those of the stream. @type {Map<string, AbortController>} */
  const polled = new Map();
  let isOpen = false;
  let isClosed = false;

  const end = () => {
    isClosed = true;
    stream.close();
    polled.forEach((polling) => polling.abort());
    polled.clear();
  };
  const lost = () => {
    if (isClosed) return;
    end();
    ends.onClose();
  };
  const told = (/** @type {object} */ frame) => isClosed || ends.onFrame(frame);
  const refused = (/** @type {number} */ id, /** @type {RhubarbError} */ { code, message, retryAfterMs }) => {
    if (code === 'unreachable') lost();
    else told({ type: 'error', id, payload: { code, message, retryAfterMs } });
  };
  const answer = (/** @type {number} */ id, /** @type {string} */ type, /** @type {Promise<object>} */ asked) =>
    void asked.then((payload) => told({ type, id, payload }), (error) => refused(id, error));
  const stream = new Stream(http, { told, lost, refused });

  /** @param {import('./stream.js').Join} asked */
  const keepAsking = (asked) => {
    const { id, roomId } = asked;
    const polling = new AbortController();
    const { signal } = polling;
    polled.set(roomId, polling);
    let isIn = false;
    const show = (/** @type {any} */ frame) => {
      isIn ||= frame.type === 'joined';
      told(frame);
    };
    poll(http, asked, signal, show).catch((error) => {
      if (signal.aborted) return;
      polled.delete(roomId);
      if (isIn && error.code !== 'unreachable') told({ type: 'left', payload: { roomId } }); // the next join tells why
      else refused(id, error);
    });
  };

  /** @type {Record<string, (id: number, payload: any) => void>} */
  const does = {
    join: (id, { roomId, since, limit }) => {
      const asked = { id, roomId, since, limit };
      if (!polled.has(roomId) && stream.takes(roomId)) return stream.follow(asked);
      polled.get(roomId)?.abort();
      keepAsking(asked);
    },
    leave: (id, { roomId }) => {
      stream.leave(roomId);
      polled.get(roomId)?.abort();
      polled.delete(roomId);
    },
    message: (id, { roomId, ...body }) => answer(id, 'ack', http.send(messagesOf(roomId), body)),
    edit: (id, { roomId, messageId, ...body }) =>
      answer(id, 'ack', http.send(`${messagesOf(roomId)}/${messageId}`, body, 'PATCH')),
    delete: (id, { roomId, messageId, ...query }) =>
      answer(id, 'ack', http.send(`${messagesOf(roomId)}/${messageId}?${new URLSearchParams(query)}`, undefined, 'DELETE')),
    ping: (id) => answer(id, 'pong', http.get('/health/live')),
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
 * Joins a room, and asks for what is new from time to time.
 * @param {Http} http @param {import('./stream.js').Join} join @param {AbortSignal} signal
 * @param {(frame: object) => void} told
 */
async function poll(http, { id, roomId, since, limit = 100 }, signal, told) {
  const news = (/** @type {number} */ after) => http.get(`${messagesOf(roomId)}?after=${after}&limit=500`);
  const page = since ? await news(since) : await http.get(`${messagesOf(roomId)}?limit=${Math.min(limit, 500)}`);
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
