/**
 * Over what the frames travel: a WebSocket or, where something in between lets none pass,
 * server-sent events and requests (events.js). Both speak the same frames.
 */

import { openEvents } from './events.js';

/** @typedef {import('./link.js').Connection} Connection */
/** @typedef {import('./link.js').Ends} Ends */
/** @typedef {'websocket' | 'events'} Name */

/** So many WebSockets in a row must fail to open while HTTP answers, before events are used. */
const FAILURES = 2;
/** After so long a WebSocket is tried again: the person may have changed networks. */
const TRY_AGAIN_MS = 5 * 60_000;

/**
 * A WebSocket that carries JSON.
 * @param {typeof WebSocket} WebSocket @param {string} address @param {Ends} ends
 * @returns {Connection}
 */
export function openSocket(WebSocket, address, { onOpen, onFrame, onClose }) {
  const socket = new WebSocket(address);
  socket.addEventListener('open', onOpen);
  socket.addEventListener('close', onClose);
  socket.addEventListener('message', ({ data }) => {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return; // not of this protocol
    }
    onFrame(frame);
  });
  return {
    send: (frame) => {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(JSON.stringify(frame));
      return true;
    },
    close: () => socket.close(),
  };
}

/** Chooses the transport of each attempt. */
export class Transports {
  /** The one in use, or tried last. @type {Name} */ name;

  /** @type {Name[]} */ #allowed;
  /** @type {() => string} */ #address;
  /** @type {import('./http.js').Http} */ #http;
  /** @type {typeof WebSocket} */ #WebSocket;
  #failures = 0;
  /** HTTP has answered since the WebSockets fail. */ #httpWorks = false;
  #eventsSince = 0;

  /**
   * @param {object} options
   * @param {Name[]} options.allowed
   * @param {() => string} options.address  of the WebSocket
   * @param {import('./http.js').Http} options.http
   * @param {typeof WebSocket} options.WebSocket
   */
  constructor({ allowed, address, http, WebSocket }) {
    this.#allowed = allowed;
    this.#address = address;
    this.#http = http;
    this.#WebSocket = WebSocket;
    this.name = allowed[0];
  }

  /** @param {Ends} ends @returns {Connection} */
  open(ends) {
    this.name = this.#choose();
    return this.name === 'events' ? openEvents(this.#http, ends) : this.#openSocket(ends);
  }

  /** @returns {Name} */
  #choose() {
    if (this.#allowed.length < 2 || !this.#WebSocket) return this.#WebSocket ? this.#allowed[0] : 'events';
    if (this.#eventsSince && Date.now() - this.#eventsSince > TRY_AGAIN_MS) this.#forget();
    if (this.#failures <= FAILURES || !this.#httpWorks) return 'websocket';
    this.#eventsSince ||= Date.now();
    return 'events';
  }

  #forget() {
    this.#failures = 0;
    this.#httpWorks = false;
    this.#eventsSince = 0;
  }

  /** @param {Ends} ends */
  #openSocket(ends) {
    let isOpen = false;
    return openSocket(this.#WebSocket, this.#address(), {
      onOpen: () => {
        isOpen = true;
        this.#forget();
        ends.onOpen();
      },
      onFrame: ends.onFrame,
      onClose: () => {
        if (!isOpen) this.#failed();
        ends.onClose();
      },
    });
  }

  /** A server that is away does not answer HTTP either. */
  #failed() {
    this.#failures += 1;
    if (this.#failures < FAILURES) return;
    this.#httpWorks = false;
    this.#http.get('/health/ready').then(() => (this.#httpWorks = true), () => {});
  }
}
