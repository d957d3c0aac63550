/** Where a message is written: Enter sends, Shift+Enter breaks the line; a draft per room. */

export class Composer {
  #form = /** @type {HTMLFormElement} */ (document.querySelector('#composer'));
  #text = /** @type {HTMLTextAreaElement} */ (document.querySelector('#message'));
  /** @type {Map<string, string>} */ #drafts = new Map();
  #room = '';

  /** @param {{ onSend: (text: string) => void, onTyping: () => void }} hooks */
  constructor({ onSend, onTyping }) {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = this.#text.value.trim();
      if (!text) return;
      this.#set('');
      onSend(text);
      this.focus();
    });
    this.#text.addEventListener('keydown', (event) => {
      // While an input method composes, Enter picks a word.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#text.addEventListener('input', () => {
      this.#fit();
      if (this.#text.value.trim()) onTyping();
    });
    this.#fit();
  }

  /** Puts away the draft of the room before, takes out that of this one. @param {string} room */
  show(room) {
    if (room === this.#room) return;
    this.#drafts.set(this.#room, this.#text.value);
    this.#room = room;
    this.#set(this.#drafts.get(room) ?? '');
    this.#text.placeholder = `Write to #${room}…`;
  }

  focus() {
    this.#text.focus({ preventScroll: true });
  }

  /** @param {string} text */
  #set(text) {
    this.#text.value = text;
    this.#fit();
  }

  /** As high as the text; the style sheet sets the limit. */
  #fit() {
    this.#text.style.height = 'auto';
    this.#text.style.height = `${this.#text.scrollHeight}px`;
    this.#form.classList.toggle('empty', !this.#text.value.trim());
  }
}
