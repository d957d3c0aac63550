/**
 * What can be done with one message, by mouse, finger and keyboard: one set of buttons, which moves to
 * the message that is pointed at or has the focus. With the focus in the list the arrow keys go from
 * message to message, so that a long history is one stop of the Tab key.
 */

/** @param {string} selector @returns {any} */
const $ = (selector) => document.querySelector(selector);

/**
 * @typedef {object} Hooks
 * @property {(messageId: number) => boolean} mayChange
 * @property {(messageId: number) => void} onEdit
 * @property {(messageId: number) => void} onDelete
 * @property {() => void} onLeave  Escape: back to writing
 */

export class MessageTools {
  #list = /** @type {HTMLOListElement} */ ($('#messages'));
  #tools = /** @type {HTMLElement} */ ($('#tools-template').content.firstElementChild);
  /** @type {Hooks} */ #hooks;

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#list.addEventListener('pointerover', (event) => this.#moveTo(itemOf(event.target)));
    this.#list.addEventListener('focusin', (event) => this.#moveTo(itemOf(event.target)));
    this.#list.addEventListener('pointerleave', () => {
      if (!this.#tools.contains(document.activeElement)) this.#tools.remove();
    });
    this.#list.addEventListener('keydown', (event) => this.#key(event));
    this.#tools.addEventListener('click', (event) => {
      const button = /** @type {Element} */ (event.target).closest('button');
      const item = itemOf(this.#tools);
      if (button && item) this.#do(button.classList.contains('edit') ? 'edit' : 'delete', item);
    });
  }

  /** @param {'edit' | 'delete'} what @param {HTMLElement} item */
  #do(what, item) {
    if (!this.#mayChange(item)) return;
    const messageId = Number(item.dataset.messageId);
    if (what === 'edit') this.#hooks.onEdit(messageId);
    else this.#hooks.onDelete(messageId);
  }

  /** @param {HTMLElement | null} item */
  #mayChange(item) {
    return Boolean(item?.dataset.messageId) && !item?.matches('.pending, .failed')
      && this.#hooks.mayChange(Number(item?.dataset.messageId));
  }

  /** @param {HTMLElement | null} item */
  #moveTo(item) {
    if (!item || item === itemOf(this.#tools)) return;
    if (this.#mayChange(item)) item.querySelector('.line')?.append(this.#tools);
    else if (!this.#tools.contains(document.activeElement)) this.#tools.remove();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const item = itemOf(document.activeElement);
    const isOnItem = item !== null && item === document.activeElement;
    if (event.key === 'ArrowUp' || event.key === 'ArrowDown') this.#step(item, event.key === 'ArrowUp' ? -1 : 1);
    else if (event.key === 'Escape') this.#hooks.onLeave();
    else if (isOnItem && event.key === 'e') this.#do('edit', item);
    else if (isOnItem && event.key === 'Delete') this.#do('delete', item);
    else return;
    event.preventDefault();
  }

  /** @param {HTMLElement | null} item @param {-1 | 1} by */
  #step(item, by) {
    const items = this.#list.querySelectorAll('li[tabindex]');
    const at = item ? [...items].indexOf(item) + by : items.length - 1;
    const next = /** @type {HTMLElement | undefined} */ (items[Math.max(0, Math.min(at, items.length - 1))]);
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: 'nearest' });
  }
}

/** @param {EventTarget | null} target @returns {HTMLElement | null} */
const itemOf = (target) => /** @type {Element | null} */ (target)?.closest?.('#messages > li[tabindex]') ?? null;
