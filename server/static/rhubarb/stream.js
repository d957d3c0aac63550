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
 * @property {Opened} [stream]  the one that brings it
 * @property {Beginning} [beginning]
 *
 * @typedef {object} Opened    a stream that is open
 * @property {string[]} names  of its rooms, in the order of the places in its ids
 * @property {() => void} abort
 */

/** So many rooms has a stream at most. */
export const ROOMS_AT_MOST = 20;
/** What names the place in a room of which we have nothing. */
const ANEW = '-';
const PAGE = 100;
/** What has come of a history is told so often. */
const PART_MS = 250;
/** The server writes something every 25 s at least. */
const SILENCE_MS = 60_000;
/** Until the server knows that a stream was let go. */
const GONE_AFTER_MS = 200;

export class Stream {
  /** @type {Http} */ #http;
  /** @type {Ends} */ #ends;
  /** @type {Map<string, Followed>} */ #rooms = new Map();
  /** @type {Opened | undefined} */ #open;
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
    // Not if the next is on its way: it was not told of this.
    if (stream && !this.#next) this.#begin(room, stream);
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
    this.#next = undefined;
    if (!this.#rooms.size) return this.#letGo();
    // What is asked for comes first: of many rooms that are slow to join, some more are joined each time.
    const rooms = [...this.#rooms].sort(([, one], [, other]) => Number(!one.asked) - Number(!other.asked));
    const joins = rooms.map(([, room]) => room).filter((room) => room.asked);
    const next = new AbortController();
    const { signal } = next;
    this.#next = next;
    let response;
    try {
      response = await this.#http.open(addressOf(rooms), { headers: { accept: 'text/event-stream' }, signal, cache: 'no-store' });
    } catch (error) {
      if (!signal.aborted) await this.#refused(/** @type {RhubarbError} */ (error), signal);
      if (this.#next === next) this.#next = undefined;
      return;
    }
    if (signal.aborted) return;
    this.#letGo();
    this.#next = undefined;
    const stream = { names: rooms.map(([roomId]) => roomId), abort: () => next.abort() };
    this.#open = stream;
    this.#rooms.forEach((room) => (room.stream = stream));
    joins.forEach((room) => this.#begin(room, stream));
    const ended = () => signal.aborted || this.#ends.lost();
    readEvents(response, (event) => signal.aborted || this.#take(event, stream)).then(ended, ended);
  }

  /** A stream brings what a join of the room asks for. @param {Followed} room @param {Opened} stream */
  #begin(room, stream) {
    room.stream = stream;
    room.beginning?.end();
    let isAnswer = false;
    room.beginning = new Beginning((part) => {
      const { asked } = room;
      room.asked = undefined;
      if (asked) {
        isAnswer = true;
        return this.#ends.told({ type: 'joined', id: asked.id, payload: part });
      }
      if (isAnswer) return this.#ends.told({ type: 'history', payload: part });
      // The stream before this one has answered meanwhile, maybe in part: some of it may be new all the same.
      part.messages.forEach((payload) => this.#ends.told({ type: 'message', payload }));
      this.#ends.told({ type: 'history', payload: { ...part, messages: [] } });
    });
  }

  /** @param {Event} event @param {Opened} stream */
  #take({ event, id, data }, stream) {
    const payload = JSON.parse(data);
    id?.split(',').forEach((place, i) => {
      const room = this.#rooms.get(stream.names[i]);
      if (room?.stream === stream) room.place = place;
    });
    const { roomId } = payload;
    if (roomId === undefined) return this.#ends.told({ type: event, payload });
    const room = this.#rooms.get(roomId);
    // Of a room that was left, or that was asked for anew, nothing counts that an older stream brings.
    if (room?.stream !== stream) return;
    // A room that goes on is joined already: if the server could not go on there, a `reset` says so.
    if (room.beginning?.takes(event, payload) ?? isOfBeginning(event)) return;
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
      await new Promise((resolve) => setTimeout(resolve, GONE_AFTER_MS));
      if (!signal.aborted && !this.#isClosed) this.#openSoon();
      return;
    }
    const asked = [...this.#rooms.values()].flatMap((room) => room.asked ?? []);
    if (error.code === 'unreachable' || !asked.length) return this.#ends.lost();
    const isOfNone = error.isPassing || error.isAboutToken;
    const looks = isOfNone ? [] : await Promise.all(asked.map((join) => this.#refusalOf(join)));
    if (signal.aborted || this.#isClosed) return;
    const isOfSome = looks.some(isOfRoom);
    // It is one that we were in, or who it is cannot be seen now.
    if (!isOfSome && (error.code === 'forbidden_room' || looks.some(Boolean))) return this.#ends.lost();
    asked.forEach((join, i) => {
      // What passes is told to all; else one less may do.
      const isRefused = isOfSome ? isOfRoom(looks[i]) : error.isPassing || i === asked.length - 1;
      if (!isRefused) return;
      this.#drop(join.roomId);
      this.#ends.refused(join.id, looks[i] ?? error);
    });
    // With another token all will be asked for again.
    if (!this.#isWhole && !error.isAboutToken) this.#openSoon();
  }

  /** Whether the stream that is open is that of all rooms, and of no others. */
  get #isWhole() {
    const rooms = [...this.#rooms.values()];
    return rooms.length === this.#open?.names.length && rooms.every(({ asked, stream }) => !asked && stream === this.#open);
  }

  /** Why a room may not be entered, if so. @param {Join} join @returns {Promise<RhubarbError | undefined>} */
  #refusalOf({ roomId }) {
    return this.#http.get(`/rooms/${encodeURIComponent(roomId)}`).then(() => undefined, (error) => error);
  }
}

/** Whether it is the room that is refused. @param {RhubarbError | undefined} error */
const isOfRoom = (error) => error?.code === 'forbidden_room' || error?.code === 'bad_request';

/** @param {[string, Followed][]} rooms */
function addressOf(rooms) {
  const query = new URLSearchParams(rooms.map(([roomId]) => ['room', roomId]));
  query.set('since', rooms.map(([, { asked, since, place = since }]) => (asked ? since : place)).join());
  // For those that begin anew; the others get all that they have missed.
  const limits = rooms.map(([, { asked, since }]) => (asked && since === ANEW ? asked.limit ?? PAGE : 0));
  if (Math.max(...limits)) query.set('limit', String(Math.max(...limits)));
  return `/events?${query}`;
}

/** What comes of a join alone. @param {string} event */
const isOfBeginning = (event) => event === 'joined' || event === 'live';

/**
 * The history at the beginning of a room. It comes message by message, up to `live`; a room takes it as one page, or in
 * parts if that takes long.
 */
class Beginning {
  /** @type {(part: { messages: any[], continues: boolean }) => void} */ #told;
  /** @type {any} */ #joined;
  /** @type {any[]} */ #messages = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** Part of it was told. */ #isTold = false;
  #isOver = false;

  /** @param {(part: { messages: any[], continues: boolean }) => void} told */
  constructor(told) {
    this.#told = told;
  }

  /** @param {string} event @param {any} payload @returns {boolean} whether it was a part of it */
  takes(event, payload) {
    if (this.#isOver) return isOfBeginning(event);
    if (event === 'joined') this.#joined = payload;
    else if (event === 'live') this.#tell(false);
    else if (event === 'message') {
      this.#messages.push(payload);
      this.#timer ??= setTimeout(() => this.#joined && this.#tell(true), PART_MS);
    } else if (event !== 'reset') return false;
    else if (this.#isTold) {
      this.end();
      return false;
    } else {
      // `joined` says the same: not complete. Or all comes again.
      this.#joined = undefined;
      this.#messages = [];
    }
    return true;
  }

  end() {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  /** @param {boolean} continues */
  #tell(continues) {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isOver = !continues;
    this.#isTold = true;
    this.#told({ ...this.#joined, messages: this.#messages.splice(0), continues });
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
    // A server that has vanished ends nothing.
    const silence = setTimeout(() => reader.cancel(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
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
