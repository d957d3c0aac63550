/**
 * Ids that are unique without asking anybody, and sort by the time they were made.
 * Used for client ids of messages and for the person's own id.
 */

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/**
 * Makes a ULID: 10 characters of time in ms, 16 random ones.
 * `crypto.getRandomValues` and not `randomUUID`, because the latter is missing on plain http.
 * @param {number} [now] ms since 1970
 * @returns {string}
 */
export function ulid(now = Date.now()) {
  let time = '';
  for (let left = now, i = 0; i < 10; i += 1) {
    time = ALPHABET[left % 32] + time;
    left = Math.floor(left / 32);
  }
  const random = crypto.getRandomValues(new Uint8Array(16));
  return time + Array.from(random, (byte) => ALPHABET[byte % 32]).join('');
}
