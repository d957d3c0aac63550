/** The line above the oldest message: how the rest of the history is doing. Loads it on demand. */

/** @typedef {import('./rhubarb.js').Room} Room */

/** After a failure, scrolling alone asks again only after this. */
const REST_MS = 10_000;

export class HistoryNotice {
  #notice = /** @type {HTMLElement} */ (document.querySelector('#history-notice'));
  #words = /** @type {HTMLElement} */ (this.#notice.querySelector('p'));
  #button = /** @type {HTMLButtonElement} */ (this.#notice.querySelector('button'));
  /** @type {(room: Room) => Promise<any>} */ #load;
  /** @type {(change: () => void) => void} */ #keepPlace;
  /** @type {Room | null} */ #room = null;
  /** Rooms whose older messages are on their way. @type {Set<Room>} */ #loading = new Set();
  /** @type {Map<Room, { text: string, at: number }>} */ #failures = new Map();

  /**
   * @param {object} hooks
   * @param {(room: Room) => Promise<any>} hooks.load
   * @param {(room: Room) => void} hooks.rejoin
   * @param {(change: () => void) => void} hooks.keepPlace  changes the notice, moves no message
   */
  constructor({ load, rejoin, keepPlace }) {
    this.#load = load;
    this.#keepPlace = keepPlace;
    this.#button.addEventListener('click', () => {
      if (!this.#room) return;
      if (this.#room.state === 'refused') return rejoin(this.#room);
      this.#failures.delete(this.#room);
      void this.wanted(this.#room);
    });
  }

  /** @param {Room} room */
  show(room) {
    this.#room = room;
    const [state, text, canRetry] = this.#state(room);
    if (this.#notice.dataset.state === state && this.#words.textContent === text) return;
    this.#keepPlace(() => {
      this.#notice.dataset.state = state;
      this.#words.textContent = text;
      this.#button.hidden = !canRetry;
    });
  }

  /**
   * The person has come near the top: loads the page above, unless that is under way.
   * @param {Room} room
   * @returns {Promise<boolean>} whether a page was loaded
   */
  async wanted(room) {
    const failure = this.#failures.get(room);
    if (!room.more || this.#loading.has(room) || (failure && Date.now() - failure.at < REST_MS)) return false;
    this.#loading.add(room);
    this.#failures.delete(room);
    this.#refresh(room);
    try {
      await this.#load(room);
      return true;
    } catch (error) {
      const { code, message } = /** @type {any} */ (error);
      this.#failures.set(room, { at: Date.now(), text: code === 'archive_unavailable'
        ? 'Older messages cannot be reached at the moment. The chat goes on.'
        : `Older messages did not load. ${message ?? ''}` });
      return false;
    } finally {
      this.#loading.delete(room);
      this.#refresh(room);
    }
  }

  /** @param {Room} room */
  #refresh(room) {
    if (room === this.#room) this.show(room);
  }

  /** @param {Room} room @returns {[state: string, text: string, canRetry: boolean]} */
  #state(room) {
    const failure = this.#failures.get(room);
    if (room.state === 'refused') return ['refused', `This room cannot be joined: ${room.error?.message ?? ''}`, true];
    if (failure) return ['unavailable', failure.text, true];
    if (this.#loading.has(room)) return ['loading', 'Loading older messages…', false];
    if (!room.isLoaded) return ['joining', `Opening #${room.id}…`, false];
    if (!room.complete) return ['restoring', 'Bringing earlier messages back…', false];
    if (room.more) return ['more', '', false];
    if (!room.messages.length && !room.outbox.length) return ['empty', `Nothing has been said in #${room.id} yet. Be the first.`, false];
    return ['start', `This is where #${room.id} begins.`, false];
  }
}
