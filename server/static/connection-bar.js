/** Tells how the connection is: a word in the header, and a bar with a countdown in trouble. */

/** @typedef {import('./socket.js').Status} Status */

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

/** A short interruption is nobody's concern: the bar waits this long. */
const QUIET_MS = 1_200;

export class ConnectionBar {
  /** @type {Status} */ #status = { state: 'connecting', retryAt: 0 };
  #troubleSince = Date.now();
  #hasBeenConnected = false;

  /** @param {{ onReconnect: () => void }} hooks */
  constructor({ onReconnect }) {
    $('#reconnect').addEventListener('click', onReconnect);
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
    const { state, retryAt } = this.#status;
    const isConnected = state === 'connected';
    const isOffline = state === 'offline' && !navigator.onLine;
    const word = isConnected ? 'Connected'
      : isOffline ? 'Offline'
      : this.#hasBeenConnected ? 'Reconnecting' : 'Connecting';
    $('#status').dataset.state = state;
    say($('#status-text'), word);

    $('#trouble').hidden = isConnected || Date.now() - this.#troubleSince < QUIET_MS;
    say($('#trouble-text'), isOffline
      ? 'You are offline. What you write is kept and sent later.'
      : 'No connection. What you write is kept and sent later.');
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    say($('#trouble-count'), state === 'offline' && seconds > 0 ? `Reconnecting in ${seconds} s` : 'Reconnecting…');
  }
}

/** Touches the page only for a change: live regions speak at each. @param {Element} element @param {string} text */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
