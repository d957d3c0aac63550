/** Elements: made by `h`, and changed into others by `show`, so that focus, selection and open parts stay. */

const SVG = 'http://www.w3.org/2000/svg';
/** What a person does to these, of which a new tree knows nothing. */
const PERSONAL = new Map([['DETAILS', 'open'], ['INPUT', 'value']]);

/**
 * @param {string} tag  with `svg:` before it, one of SVG
 * @param {Record<string, any>} [with_]  attributes; `on…` are handlers; what is `false` or null is left out
 * @param {...any} children  texts are texts, never markup
 * @returns {any}
 */
export function h(tag, with_ = {}, ...children) {
  const isSvg = tag.startsWith('svg:');
  const element = isSvg ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(with_ ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  append(element, children);
  return element;
}

/** @param {Element} element @param {any[]} children */
function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** Makes what is in `place` look like `children`. @param {Element} place @param {...any} children */
export function show(place, ...children) {
  const wanted = document.createElement(place.tagName);
  append(wanted, children);
  changeChildren(place, wanted);
}

/** @param {Element} old @param {Element} wanted */
function changeChildren(old, wanted) {
  const nodes = [...wanted.childNodes];
  for (let at = 0; at < nodes.length; at += 1) {
    const here = old.childNodes[at];
    if (!here) old.append(nodes[at]);
    else if (!isAlike(here, nodes[at])) here.replaceWith(nodes[at]);
    else change(here, nodes[at]);
  }
  while (old.childNodes.length > nodes.length) old.lastChild?.remove();
}

/** @param {any} here @param {any} wanted */
function isAlike(here, wanted) {
  return here.nodeName === wanted.nodeName && (here.dataset?.key ?? '') === (wanted.dataset?.key ?? '');
}

/** @param {any} old @param {any} wanted */
function change(old, wanted) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  // What stands under the pointer, for example.
  if (old.hasAttribute('data-own')) return;
  const personal = PERSONAL.get(old.tagName);
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && name !== personal) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value && name !== personal) old.setAttribute(name, value);
  }
  if (old.type === 'checkbox') old.checked = wanted.checked;
  for (const name of ['onclick', 'onsubmit', 'onchange', 'oninput', 'onpointermove', 'onpointerleave', 'onkeydown', 'ontoggle']) {
    if (old[name] || wanted[name]) old[name] = wanted[name];
  }
  changeChildren(old, wanted);
}

/** A table that a phone can show. @param {string} name @param {any[]} heads @param {any[]} rows */
export function table(name, heads, rows) {
  return h('div', { class: 'table', role: 'region', 'aria-label': name, tabindex: '0' },
    h('table', {},
      h('caption', { class: 'hidden' }, name),
      h('thead', {}, h('tr', {}, heads.map((head) => (head instanceof Node ? head : h('th', { scope: 'col' }, head))))),
      h('tbody', {}, rows)));
}

/** A head of a column of numbers. @param {any} text @param {string} [title] */
export const numeric = (text, title) => h('th', { scope: 'col', class: 'number', title }, text);

/** A cell of a number. @param {any} text @param {Record<string, any>} [with_] */
export const cell = (text, with_ = {}) => h('td', { class: 'number', ...with_ }, text);

/** A part of a view. @param {any} title @param {...any} children */
export const part = (title, ...children) => h('section', {}, h('h2', {}, title), children);

/** What stands where nothing is. @param {any} text */
export const nothing = (text) => h('p', { class: 'nothing' }, text);

/** @param {string} text @param {(event: Event) => any} onclick @param {Record<string, any>} [with_] */
export const button = (text, onclick, with_ = {}) => h('button', { type: 'button', class: 'button', onclick, ...with_ }, text);
