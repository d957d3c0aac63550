/** Turns what people write, and when, into nodes and words. Never into HTML. */

/** A candidate for a link; what trails it is sorted out below. */
const LINK = /\bhttps?:\/\/[^\s<>"“”]+/gi;
const TRAILING = /[.,;:!?'’)\]}*_~]+$/;
const PAIRS = { ')': '(', ']': '[', '}': '{' };

/**
 * Text with its http and https addresses as links, as nodes.
 * @param {string} text
 * @returns {DocumentFragment}
 */
export function linked(text) {
  const nodes = document.createDocumentFragment();
  let done = 0;
  for (const match of text.matchAll(LINK)) {
    const address = withoutTrailing(match[0]);
    const link = linkTo(address);
    if (!link) continue;
    nodes.append(text.slice(done, match.index), link);
    done = match.index + address.length;
  }
  nodes.append(text.slice(done));
  return nodes;
}

/** Leaves out the punctuation of the sentence around an address. @param {string} address */
function withoutTrailing(address) {
  let tail = address.match(TRAILING)?.[0] ?? '';
  // A bracket that was opened inside the address belongs to it: …/Rhubarb_(band)
  while (tail) {
    const closer = /** @type {keyof typeof PAIRS} */ (tail[0]);
    const kept = address.slice(0, address.length - tail.length);
    const opened = PAIRS[closer] && count(kept, PAIRS[closer]) > count(kept, closer);
    if (!opened) break;
    tail = tail.slice(1);
  }
  return address.slice(0, address.length - tail.length);
}

/** @param {string} text @param {string} part */
const count = (text, part) => text.split(part).length - 1;

/** @param {string} address @returns {HTMLAnchorElement | null} null when it is no address after all */
function linkTo(address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null;
  const link = document.createElement('a');
  link.href = url.href;
  link.textContent = address;
  link.target = '_blank';
  link.rel = 'noopener noreferrer';
  return link;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const SHORT_DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const DAY_AND_YEAR = new Intl.DateTimeFormat(undefined, { dateStyle: 'long' });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

/** @param {Date} at */
export const clock = (at) => CLOCK.format(at);

/** @param {Date} at */
export const fullTime = (at) => FULL.format(at);

/** @param {Date} a @param {Date} b */
export const isSameDay = (a, b) => a.toDateString() === b.toDateString();

/** For a list: the time of today's, the day of others. @param {Date} at */
export const shortTime = (at) => (isSameDay(at, new Date()) ? CLOCK : SHORT_DAY).format(at);

/** @param {Date} at */
export function dayName(at) {
  const now = new Date();
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (isSameDay(at, now)) return 'Today';
  if (isSameDay(at, yesterday)) return 'Yesterday';
  return (at.getFullYear() === now.getFullYear() ? DAY : DAY_AND_YEAR).format(at);
}

/** One or two letters for a face. @param {string} name */
export function initials(name) {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
  return letters.map((word) => ([...word][0] ?? '').toUpperCase()).join('');
}

const TONES = 8;

/** The class of a person's colour: the same in every window. @param {string} userId */
export function tone(userId) {
  let hash = 0;
  for (const letter of userId) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 65_521;
  return `tone-${hash % TONES}`;
}

/** "Ada", "Ada and Bo", "Ada, Bo and 2 others". @param {string[]} names */
export function listed(names) {
  if (names.length <= 2) return names.join(' and ');
  const others = names.length - 2;
  return `${names[0]}, ${names[1]} and ${others === 1 ? '1 other' : `${others} others`}`;
}
