// --- the JavaScript client, which a gateway serves as `/client.js`

/** Open a connection that lasts until `close()`; returns at once. `url` may be http(s) or ws(s), with or without path. */
export function connect(url?: string | URL, options?: ClientOptions): Client;

/** Whether a close code means: do not come again. All others are for connecting again with backoff. */
export function isFinal(code: number): boolean;

/** Milliseconds before the attempt: half of it chance, so that many clients do not come at the same moment. */
export function delayMs(attempt: number, random?: number): number;

export interface ClientOptions {
  /** A bearer token; a page that its own gateway has logged in needs none. */
  token?: string;
  /** A link's token: shows one session. */
  watchToken?: string;
  /** Speaks MessagePack instead of JSON, such as `@msgpack/msgpack`. */
  codec?: Codec;
  /** Announces and watches what the same user starts elsewhere, as `session` events. */
  follow?: "mine" | null;
  /** Your program's name and version, for the gateway's log. */
  client?: string;
  /** Where there is no global one: a class with the browser's interface, such as that of `ws`. */
  WebSocket?: new (url: string, protocols: string[]) => any;
}

/** A MessagePack library. */
export interface Codec {
  encode(value: unknown): Uint8Array;
  decode(data: Uint8Array): unknown;
}

/** How much a watcher wants to be told. */
export interface Wishes {
  /** At most so many progress messages a second. */
  maxHz?: number;
  /** Whether unfinished pictures are shown. (default false) */
  previews?: boolean;
}

export interface HatchOptions extends Wishes {
  /** Makes a start safe to repeat: the same key, the same session. (default: one of chance) */
  key?: string;
  /** What becomes of the hatch when its last watcher is gone. (default "keep") */
  onDisconnect?: "keep" | "cancel";
  /** Seconds until it does. (default 30) */
  graceS?: number;
}

/** Which sessions to list. */
export type Filter = Omit<List, "type" | "id">;

/** `waiting` is for the next attempt; `closed` is for good. */
export interface Status {
  state: "connecting" | "open" | "waiting" | "closed";
  /** 0 at first, and one more each time the connection is lost; 0 again after a good while. */
  attempt: number;
  /** When the next attempt is made, in milliseconds since 1970: while `waiting`. */
  retryAtMs?: number;
  /** Why the connection was closed: see `CloseCode`. */
  code?: number;
  reason?: string;
  /** What `hello` was refused with. */
  error?: HatcheryError;
}

export interface ClientEvents {
  status: CustomEvent<Status>;
  welcome: CustomEvent<Welcome>;
  /** One that is followed: see `ClientOptions.follow`. */
  session: CustomEvent<Hatch>;
  goingaway: CustomEvent<GoingAway>;
}

/** A connection and all that goes over it; it connects again by itself and goes on where it was. */
export class Client extends EventTarget {
  constructor(url?: string | URL, options?: ClientOptions);
  readonly status: Status;
  /** The last one. */
  readonly welcome: Welcome | null;
  /** Start a hatch, by a prompt alone or with all that a hatch may have. */
  hatch(spec: string | HatchRequest, options?: HatchOptions): Hatch;
  /** Look at a session that exists. */
  watch(session: string, wishes?: Wishes): Hatch;
  /** One page of the caller's sessions, newest first; its `before` leads to the next one. */
  list(filter?: Filter): Promise<Sessions>;
  /** Hang up for good. What is unanswered or unfinished rejects with `closed`; the sessions go on. */
  close(): void;
  addEventListener<Type extends keyof ClientEvents>(
    type: Type,
    listener: (event: ClientEvents[Type]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export interface HatchEvents {
  /** Each one, in order; `hatch.view` includes it. */
  message: CustomEvent<HatchMessage>;
  /** At most once a frame of the screen, and at the end. */
  change: CustomEvent<View>;
}

/** What is told of one session. */
export type HatchMessage = Snapshot | State | PersonaReady | Artifact | End | Text | Thinking | Progress | Preview;

/**
 * One session, started or watched. `for await` gives its messages up to `end`, beginning with a snapshot of what was
 * before; who falls far behind gets a snapshot in place of what waited.
 */
export interface Hatch extends EventTarget, AsyncIterable<HatchMessage> {
  readonly view: View;
  /** null until it is accepted. */
  readonly session: string | null;
  /** Of a hatch that was started here. */
  readonly key?: string;
  /** The session's id. Rejects with a HatcheryError if it was refused. */
  readonly accepted: Promise<string>;
  /** Rejects with a HatcheryError if it was refused, is `gone`, or is watched no more (`closed`); not if it failed. */
  readonly done: Promise<End>;
  /** Ask for an end, whether or not the start has been answered; resolves with the answer, which is not yet the end. */
  cancel(reason?: string): Promise<Ok>;
  /** Be told no more. The session goes on; `done` rejects with `closed` unless it had ended. */
  unwatch(): void;
  [Symbol.asyncIterator](): AsyncGenerator<HatchMessage, void, undefined>;
  addEventListener<Type extends keyof HatchEvents>(
    type: Type,
    listener: (event: HatchEvents[Type]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** A session as it stands: the fold of its messages. */
export interface View {
  /** Rises with each message. */
  readonly revision: number;
  readonly session: string | null;
  /** 0 until the first snapshot. */
  readonly epoch: number;
  readonly seq: number;
  readonly offset: number;
  readonly cursor: Cursor;
  readonly state: State["state"];
  /** Of the latest `state`; an end leaves it, as the reason of a cancel. */
  readonly reason: string | null;
  readonly attempt: number;
  readonly prompt: string;
  readonly percent: number;
  readonly stage: Progress["stage"];
  readonly basis: Progress["basis"];
  readonly message: string;
  readonly step: number | null;
  readonly steps: number | null;
  readonly stepS: number | null;
  /** Seconds to the end: p50, p90. */
  readonly etaS: [number, number] | null;
  readonly queuePosition: number | null;
  /** Grows character by character. */
  readonly persona: Partial<Persona>;
  readonly personaComplete: boolean;
  /** The end of the LLM's reasoning. */
  readonly thinking: string;
  readonly preview: Preview | null;
  readonly artifacts: Artifact[];
  readonly end: End | null;
  /** The finished agent's id in the gallery. */
  readonly agent: string | null;
  /** A message that stands for all that has been folded. */
  snapshot(): Snapshot;
}

/** What a refusal says, in an `error`. */
export type Refusal = Pick<Error, "code" | "message"> & Partial<Pick<Error, "retryable" | "retry_after_ms" | "field">>;

/** What the gateway refused, or (`closed`) what the end of the connection left undone. */
export class HatcheryError extends globalThis.Error {
  constructor(refusal: Refusal);
  /** See `ErrorCode`; `closed` is the client's own. */
  readonly code: ErrorCode | "closed" | (string & {});
  /** Whether the same may work later. */
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  /** The path of the field at fault. */
  readonly field?: string;
}
