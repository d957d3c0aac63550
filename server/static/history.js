/** Reads older messages over HTTP. */

/** Why older messages could not be had. */
export class HistoryError extends Error {
  /** @param {string} code `archive_unavailable`, `unreachable`, … @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'HistoryError';
    this.code = code;
  }
}

/**
 * @param {string} base    the server's origin
 * @param {string} roomId
 * @param {number} before  the id of the oldest message at hand
 * @param {number} limit
 * @returns {Promise<{ messages: import('./room.js').Message[], more: boolean }>} oldest first
 * @throws {HistoryError}
 */
export async function fetchOlder(base, roomId, before, limit) {
  const path = `/rooms/${encodeURIComponent(roomId)}/messages?before=${before}&limit=${limit}`;
  let response;
  let body;
  try {
    response = await fetch(new URL(path, base));
    body = await response.json();
  } catch {
    throw new HistoryError('unreachable', 'The server did not answer.');
  }
  if (!response.ok) throw new HistoryError(body.code, body.message);
  return body;
}
