/** Tells how the connection is: a word in the header, and a bar with a countdown in trouble. */

/** @typedef {import('./rhubarb.js').Status} Status */

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

/** A short interruption is nobody's concern: the bar waits this long. */
const QUIET_MS = 1_200;

export class ConnectionBar {
  /** @type {Status} */ #status = { state: 'connecting', retryAt: 0, transport: 'websocket' };
  #troubleSince = Date.now();
  #hasBeenConnected = false;

  /** @param {{ onReconnect: () => void, onToken: (token: string) => void }} hooks */
  constructor({ onReconnect, onToken }) {
    $('#reconnect').addEventListener('click', onReconnect);
    $('#token-form').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      onToken($('#token').value.trim());
    });
    for (const event of ['online', 'offline']) addEventListener(event, () => this.#draw());
    setInterval(() => this.#draw(), 500);
  }

  /** @param {Status} status */
  show(status) {
    if (this.#status.state === 'connected' && status.state !== 'connected') this.#troubleSince = Date.now();
    this.#status = status;
    this.#hasBeenConnected ||= status.state === 'connected';
    this.#draw();
  }

  #draw() {
    const { state, retryAt, transport, error } = this.#status;
    const isOffline = state === 'offline' && !navigator.onLine;
    $('#status').dataset.state = state;
    $('#status').title = transport === 'events' ? 'Without WebSockets: over server-sent events' : '';
    say($('#status-text'), this.#word(isOffline));
    $('#token-form').hidden = state !== 'refused';
    say($('#token-why'), error?.message ?? '');

    const isQuiet = state === 'connected' || state === 'refused';
    $('#trouble').hidden = isQuiet || Date.now() - this.#troubleSince < QUIET_MS;
    say($('#trouble-text'), isOffline
      ? 'You are offline. What you write is kept and sent later.'
      : 'No connection. What you write is kept and sent later.');
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    say($('#trouble-count'), state === 'offline' && seconds > 0 ? `Reconnecting in ${seconds} s` : 'Reconnecting…');
  }

  /** @param {boolean} isOffline */
  #word(isOffline) {
    if (this.#status.state === 'connected') return 'Connected';
    if (this.#status.state === 'refused') return 'Not let in';
    if (isOffline) return 'Offline';
    return this.#hasBeenConnected ? 'Reconnecting' : 'Connecting';
  }
}

/** Touches the page only for a change: live regions speak at each. @param {Element} element @param {string} text */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
