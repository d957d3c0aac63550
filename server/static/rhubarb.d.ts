/** Types of rhubarb.js. What each does in full: docs/javascript.md. */

/** One message of a room, as it reads now. */
export interface Message {
  /** Order, time in microseconds since 1970, and position, all in one. */
  readonly messageId: number;
  /** The id before it in the room; 0 = first or unknown. */
  readonly prev: number;
  /** ISO 8601. */
  readonly timestamp: string;
  readonly userId: string;
  readonly username: string;
  /** The sender's own id of it. */
  readonly clientId: string;
  /** Plain text; empty when deleted. */
  readonly message: string;
  /** The id of the entry by which its author changed it last. */
  readonly editedAt?: number;
  readonly deleted?: boolean;
}

/** What was written and is not acknowledged. */
export interface Outgoing {
  readonly clientId: string;
  readonly kind: 'message' | 'edit' | 'delete';
  /** The text; empty for a deletion. */
  readonly message: string;
  /** The message that is edited or deleted. */
  readonly target?: number;
  readonly ack: AckLevel;
  /** Milliseconds since 1970. */
  readonly writtenAt: number;
  readonly state: 'queued' | 'sent' | 'failed';
  /** It is in the room; only its `db` acknowledgement is awaited. */
  readonly seen?: boolean;
  /** How often it was sent without any answer. */
  readonly tries: number;
  /** Why it failed, for people. */
  readonly error?: string;
  /** Why it failed, for programs. */
  readonly code?: string;
}

/** `redis`: kept in the room's log. `db`: in the archive. */
export type AckLevel = 'redis' | 'db';

export interface Ack {
  readonly messageId: number;
  readonly clientId: string;
  /** It had arrived before. */
  readonly duplicate: boolean;
  /** It is in the archive. */
  readonly archived?: boolean;
}

export interface Status {
  /**
   * `offline`: waiting for the next attempt, or closed. `refused`: no token will do; see `error`.
   */
  readonly state: 'connected' | 'connecting' | 'offline' | 'refused';
  /** Milliseconds since 1970 of the next attempt; 0 when none is planned. */
  readonly retryAt: number;
  readonly transport: Transport;
  readonly error?: RhubarbError;
}

export type Transport = 'websocket' | 'events';

/** A token, or what gets one: asked again when one is about to end or was refused. */
export type TokenSource = string | (() => string | Promise<string>);

export interface Options {
  /** The server's origin. Default: the page's. */
  url?: string;
  token?: TokenSource;
  /** Who we are, where the server takes guests. */
  guest?: { userId?: string; username?: string };
  /** Messages asked for by a first join. Default: 100. */
  pageSize?: number;
  /** Messages kept in memory per room. Default: 2,000. */
  keep?: number;
  /** How much may wait to be sent, over all rooms. Default: 500. */
  queueLimit?: number;
  /** Where what is unsent survives a reload; `sessionStorage` fits. Default: nowhere. */
  storage?: Pick<Storage, 'getItem' | 'setItem'> | null;
  /** What may be used, in the order of preference. Default: both. */
  transports?: Transport[];
  /** Stand-ins where the platform has none. */
  WebSocket?: typeof WebSocket;
  fetch?: typeof fetch;
}

/** What a room tells. `chat.on` hears it of all rooms. */
export interface RoomEvents {
  /** Its state, members, `more` or `complete` have changed. */
  room: { room: Room };
  /** All its messages were replaced. */
  replaced: { room: Room };
  /** These were added: live or filled in at the end, or `older` at the beginning. */
  messages: { room: Room; messages: Message[]; older: boolean };
  /** This one was edited or deleted. */
  changed: { room: Room; message: Message };
  /** These were forgotten to save memory; `loadOlder` brings them back. */
  trimmed: { room: Room; messages: Message[] };
  /**
   * Added to, or changed in, the outbox. `done`: gone from it, confirmed as `message`; without one it was
   * dropped, or lies before the oldest message loaded.
   */
  outgoing: { room: Room; entry: Outgoing; done: boolean; message?: Message };
  /** Somebody else types. Holds for some five seconds. */
  typing: { room: Room; userId: string; username: string };
}

export interface ClientEvents extends RoomEvents {
  status: Status;
  /** An error that concerns no message or room. */
  notice: { error: RhubarbError };
}

/** One joined room. Made by `Rhubarb.join`. */
export interface Room {
  readonly id: string;
  readonly state: 'idle' | 'joining' | 'joined' | 'refused' | 'left';
  /** Why it was refused. */
  readonly error?: RhubarbError;
  readonly members: number;
  /** Oldest first, without holes or doubles. */
  readonly messages: readonly Message[];
  /** What is not acknowledged, in the order it was written. */
  readonly outbox: readonly Outgoing[];
  /** Whether there are older messages. */
  readonly more: boolean;
  /** False while the server still fetches the room's history; `replaced` follows. */
  readonly complete: boolean;
  /** Whether the room's messages have arrived once. */
  readonly isLoaded: boolean;
  /** True while a person reads old messages: nothing is forgotten to save memory. */
  pinned: boolean;

  on<Name extends keyof RoomEvents>(name: Name, listener: (event: RoomEvents[Name]) => void): () => void;
  message(messageId: number): Message | undefined;
  send(text: string, options?: { ack?: AckLevel; clientId?: string }): Promise<Ack>;
  edit(messageId: number, text: string): Promise<Ack>;
  delete(messageId: number): Promise<Ack>;
  /** Sends again what failed, under the same client id. */
  retry(clientId: string): Promise<Ack>;
  /** Drops what is unsent. */
  discard(clientId: string): void;
  /** Tells the room that we type; may be called at each key. */
  typing(): void;
  loadOlder(limit?: number): Promise<Message[]>;
  /** Asks again to join a room that was refused. */
  join(): void;
  /** Leaves; what is unsent is dropped. */
  leave(): void;
}

export declare class Rhubarb {
  constructor(options?: Options);
  readonly rooms: ReadonlyMap<string, Room>;
  readonly userId: string;
  readonly username: string;
  readonly status: Status;

  on<Name extends keyof ClientEvents>(name: Name, listener: (event: ClientEvents[Name]) => void): () => void;
  /** Connects, and stays connected. Resolves with the first connection. */
  connect(): Promise<void>;
  /** Lets go of the connection. Rooms and what is unsent stay. */
  close(): void;
  /** Connects at once, whatever wait is planned. */
  reconnect(): void;
  join(roomId: string): Room;
  /** Takes another name, as a guest. */
  rename(username: string): void;
  /** Uses another token, from now on. */
  setToken(token: TokenSource): void;
}

export declare class RhubarbError extends Error {
  constructor(code: string, message: string, retryAfterMs?: number);
  readonly code: string;
  readonly retryAfterMs?: number;
  /** Whether the same again, later, may do. */
  readonly isPassing: boolean;
  /** Whether another token may do. */
  readonly isAboutToken: boolean;
}

/** An id that nobody else has, and that sorts by time. */
export declare function ulid(now?: number): string;
