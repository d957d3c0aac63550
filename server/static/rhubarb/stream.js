/**
 * Rooms without a WebSocket: one stream of server-sent events for all of them, because a browser opens six connections to
 * a server over HTTP/1.1. When the rooms become others, a new one goes on where the old one was, which is let go
 * when the new one is open: so nothing is missed, and nobody seems to leave.
 */

/** @typedef {import('./http.js').Http} Http */
/** @typedef {import('./error.js').RhubarbError} RhubarbError */

/**
 * @typedef {object} Join  a question, and what it asks for
 * @property {number} id
 * @property {string} roomId
 * @property {number} [since]
 * @property {number} [limit]
 *
 * @typedef {object} Ends
 * @property {(frame: object) => void} told  a frame, as a WebSocket would bring it
 * @property {(id: number, error: RhubarbError) => void} refused  what becomes of a join
 * @property {() => void} lost               the connection is gone
 *
 * @typedef {object} Followed  a room
 * @property {string} since    where the join began, as the server names places in the ids of events
 * @property {string} [place]  where its stream is: before the join is answered, that is more than we have
 * @property {Join} [asked]    the join that is to be answered
 * @property {AbortController} [stream]  the one that brings it
 * @property {Beginning} [beginning]
 */

/** So many rooms has a stream at most. */
export const ROOMS_AT_MOST = 20;
/** What names the place in a room of which we have nothing. */
const ANEW = '-';
const PAGE = 100;
const PAUSE_MS = 250;

export class Stream {
  /** @type {Http} */ #http;
  /** @type {Ends} */ #ends;
  /** @type {Map<string, Followed>} */ #rooms = new Map();
  /** @type {AbortController | undefined} */ #open;
  /** The one that is to replace it. @type {AbortController | undefined} */ #next;
  /** A room that the server joins anew by itself. */ #anew = '';
  #isDue = false;
  #isClosed = false;

  /** @param {Http} http @param {Ends} ends */
  constructor(http, ends) {
    this.#http = http;
    this.#ends = ends;
  }

  /** Whether it has this room, or takes one more. @param {string} roomId */
  takes(roomId) {
    return this.#rooms.has(roomId) || this.#rooms.size < ROOMS_AT_MOST;
  }

  /** Joins a room, again if need be. @param {Join} asked */
  follow(asked) {
    const room = { since: asked.since ? String(asked.since) : ANEW, asked };
    const stream = asked.roomId === this.#anew ? this.#rooms.get(asked.roomId)?.stream : undefined;
    this.#drop(asked.roomId);
    this.#rooms.set(asked.roomId, room);
    if (stream) this.#begin(room, stream);
    else this.#openSoon();
  }

  /** @param {string} roomId */
  leave(roomId) {
    if (this.#drop(roomId)) this.#openSoon();
  }

  close() {
    this.#isClosed = true;
    [...this.#rooms.keys()].forEach((roomId) => this.#drop(roomId));
    this.#next?.abort();
    this.#letGo();
  }

  #letGo() {
    this.#open?.abort();
    this.#open = undefined;
  }

  /** @param {string} roomId */
  #drop(roomId) {
    this.#rooms.get(roomId)?.beginning?.end();
    return this.#rooms.delete(roomId);
  }

  /** For all that is joined and left in one go. */
  #openSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      if (!this.#isClosed) void this.#openNext();
    });
  }

  async #openNext() {
    this.#next?.abort();
    const names = [...this.#rooms.keys()];
    if (!names.length) return this.#letGo();
    const joins = [...this.#rooms.values()].filter((room) => room.asked);
    const next = new AbortController();
    const { signal } = next;
    this.#next = next;
    let response;
    try {
      response = await this.#http.open(this.#address(), { headers: { accept: 'text/event-stream' }, signal, cache: 'no-store' });
    } catch (error) {
      if (!signal.aborted) await this.#refused(/** @type {RhubarbError} */ (error), signal);
      return;
    }
    if (signal.aborted) return;
    this.#letGo();
    this.#open = next;
    this.#next = undefined;
    this.#rooms.forEach((room) => (room.stream = next));
    joins.forEach((room) => this.#begin(room, next));
    const ended = () => signal.aborted || this.#ends.lost();
    readEvents(response, (event) => signal.aborted || this.#take(names, event, next)).then(ended, ended);
  }

  #address() {
    const rooms = [...this.#rooms];
    const limits = rooms.map(([, { asked }]) => (asked ? asked.limit ?? PAGE : 0));
    const query = new URLSearchParams(rooms.map(([roomId]) => ['room', roomId]));
    query.set('since', rooms.map(([, { asked, since, place = since }]) => (asked ? since : place)).join());
    if (Math.max(...limits)) query.set('limit', String(Math.max(...limits)));
    return `/events?${query}`;
  }

  /** A stream brings what a join of the room asks for. @param {Followed} room @param {AbortController} stream */
  #begin(room, stream) {
    room.stream = stream;
    room.beginning?.end();
    room.beginning = new Beginning((page) => {
      const { asked } = room;
      room.asked = undefined;
      if (asked) return this.#ends.told({ type: 'joined', id: asked.id, payload: page });
      // The stream before this one has answered meanwhile: some of it may be new all the same.
      page.messages.forEach((payload) => this.#ends.told({ type: 'message', payload }));
    });
  }

  /** @param {string[]} names of the stream's rooms @param {Event} event @param {AbortController} stream */
  #take(names, { event, id, data }, stream) {
    const payload = JSON.parse(data);
    id?.split(',').forEach((place, i) => {
      const room = this.#rooms.get(names[i]);
      if (room?.stream === stream) room.place = place;
    });
    const { roomId } = payload;
    if (roomId === undefined) return this.#ends.told({ type: event, payload });
    const room = this.#rooms.get(roomId);
    // Of a room that was left, or that was asked for anew, nothing counts that an older stream brings.
    if (room?.stream !== stream) return;
    // A room that goes on is joined already: if the server could not go on there, a `reset` says so.
    if (room.beginning ? room.beginning.takes(event, payload) : event === 'joined') return;
    // What is asked for upon that comes by itself.
    if (event === 'reset') this.#anew = roomId;
    this.#ends.told({ type: event, payload });
    this.#anew = '';
  }

  /**
   * No stream of these rooms: one of those that are asked for is to blame, or nobody.
   * @param {RhubarbError} error @param {AbortSignal} signal
   */
  async #refused(error, signal) {
    if (error.code === 'too_many_connections' && this.#open) {
      this.#letGo(); // it counts as well
      return this.#openNext();
    }
    const asked = [...this.#rooms.values()].flatMap((room) => room.asked ?? []);
    if (error.code === 'unreachable' || !asked.length) return this.#ends.lost();
    const isForbidden = error.code === 'forbidden_room';
    const of = isForbidden ? await Promise.all(asked.map((join) => this.#refusalOf(join))) : [];
    if (signal.aborted || this.#isClosed) return;
    if (isForbidden && !of.some(Boolean)) return this.#ends.lost(); // it is one that we were in
    // What passes is told to all; else one less may do.
    const refusal = (/** @type {number} */ i) =>
      isForbidden ? of[i] : error.isPassing || i === asked.length - 1 ? error : undefined;
    asked.forEach((join, i) => {
      const why = refusal(i);
      if (!why) return;
      this.#drop(join.roomId);
      this.#ends.refused(join.id, why);
    });
    const isWhole = this.#open && ![...this.#rooms.values()].some((room) => room.asked);
    // With another token all will be asked for again.
    if (!isWhole && !error.isAboutToken) this.#openSoon();
  }

  /** Why a room may not be entered, if so. @param {Join} join @returns {Promise<RhubarbError | undefined>} */
  #refusalOf({ roomId }) {
    return this.#http.get(`/rooms/${encodeURIComponent(roomId)}`).then(() => undefined, (error) => error);
  }
}

/**
 * The history at the beginning of a room. It comes message by message; a room takes it as one page,
 * up to the id that `joined` names.
 */
class Beginning {
  /** @type {(page: { messages: any[] }) => void} */ #told;
  /** @type {any} */ #joined;
  /** @type {any[]} */ #messages = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #isOver = false;

  /** @param {(page: { messages: any[] }) => void} told */
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

/** @typedef {{ event: string, id?: string, data: string }} Event */

/**
 * Reads a stream of events until it ends.
 * @param {Response} response @param {(event: Event) => void} take
 */
async function readEvents(response, take) {
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

/** @param {string} block the lines of one event @returns {Event} */
function readEvent(block) {
  let event = 'message';
  let id;
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === 'event') event = value;
    if (name === 'id') id = value;
    if (name === 'data') data.push(value);
  }
  return { event, id, data: data.join('\n') };
}
