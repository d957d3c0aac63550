/**
 * Where a message is written: Enter sends, Shift+Enter breaks the line. Keeps a draft per room, also over
 * a reload, and edits what was sent.
 */

import * as store from './store.js';

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

/** The server takes no longer ones. */
const MAX_BYTES = 16_384;
/** From here on the room that is left is told. */
const NEAR_BYTES = MAX_BYTES - 1_000;

/**
 * @typedef {object} Hooks
 * @property {(text: string) => void} onSend
 * @property {(messageId: number, text: string) => void} onEdit
 * @property {() => void} onTyping
 * @property {() => void} onUp  the arrow up, with nothing written
 */

export class Composer {
  #form = /** @type {HTMLFormElement} */ ($('#composer'));
  #text = /** @type {HTMLTextAreaElement} */ ($('#message'));
  /** @type {Hooks} */ #hooks;
  #room = '';
  /** The message that is edited. */ #editing = 0;

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener('keydown', (event) => this.#key(event));
    this.#text.addEventListener('input', () => {
      this.#fit();
      if (this.#editing) return;
      store.keepDraft(this.#room, this.#text.value);
      if (this.#text.value.trim()) hooks.onTyping();
    });
    $('#stop-editing').addEventListener('click', () => this.stopEditing());
    addEventListener('resize', () => this.#fit());
  }

  get isEditing() {
    return this.#editing !== 0;
  }

  /** Takes out the draft of this room. @param {string} room */
  show(room) {
    if (room === this.#room) return;
    this.#room = room;
    this.stopEditing();
    this.#set(store.draft(room));
    this.#text.placeholder = `Write to #${room}…`;
  }

  /** @param {{ messageId: number, message: string }} message */
  edit({ messageId, message }) {
    this.#editing = messageId;
    $('#editing').hidden = false;
    this.#set(message);
    this.focus();
    this.#text.setSelectionRange(message.length, message.length);
  }

  /** Back to the draft. */
  stopEditing() {
    if (!this.#editing) return;
    this.#editing = 0;
    $('#editing').hidden = true;
    this.#set(store.draft(this.#room));
    this.focus();
  }

  focus() {
    this.#text.focus({ preventScroll: true });
  }

  #submit() {
    const text = this.#text.value.trim();
    if (!text || bytes(text) > MAX_BYTES) return;
    const editing = this.#editing;
    if (editing) {
      this.stopEditing();
      this.#hooks.onEdit(editing, text);
    } else {
      this.#set('');
      store.keepDraft(this.#room, '');
      this.#hooks.onSend(text);
    }
    this.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    // While an input method composes, Enter picks a word.
    if (event.isComposing) return;
    const isPlain = !event.shiftKey && !event.altKey && !event.ctrlKey && !event.metaKey;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      this.#form.requestSubmit();
    } else if (event.key === 'Escape' && this.#editing) {
      event.stopPropagation();
      this.stopEditing();
    } else if (event.key === 'ArrowUp' && isPlain && !this.#text.value && !this.#editing) {
      event.preventDefault();
      this.#hooks.onUp();
    }
  }

  /** @param {string} text */
  #set(text) {
    this.#text.value = text;
    this.#fit();
  }

  /** As high as the text; the style sheet sets the limit. */
  #fit() {
    const { value } = this.#text;
    // Measured in a form that keeps its height: else the messages above would move, twice a key.
    this.#form.style.height = `${this.#form.offsetHeight}px`;
    this.#text.style.height = 'auto';
    this.#text.style.height = `${this.#text.scrollHeight}px`;
    this.#form.style.height = '';
    const length = value.length < NEAR_BYTES / 3 ? 0 : bytes(value.trim()); // at most 3 bytes a unit
    const left = MAX_BYTES - length;
    $('#too-long').textContent = length < NEAR_BYTES ? ''
      : left < 0 ? `${-left} bytes too long` : `${left} bytes left`;
    this.#form.classList.toggle('empty', !value.trim() || left < 0);
  }
}

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text).length;
