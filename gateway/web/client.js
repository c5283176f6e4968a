/**
 * A client of Hatchery for browsers, and for Node from 22 on (or wherever a WebSocket class is passed).
 *
 *     const client = connect("http://127.0.0.1:8642");
 *     const hatch = client.hatch("a shy dragon who guards a library");
 *     hatch.addEventListener("change", () => console.log(hatch.view.percent, hatch.view.message));
 *     const end = await hatch.done;
 *
 * It connects again by itself and goes on where it was: sessions by their cursors, unanswered requests by repeating
 * them, which is safe because every command is idempotent (a start by its key). For TypeScript keep
 * `/v1/hatchery.d.ts` as `client.d.ts` beside this file.
 */

import { emit, Hatch, HatcheryError } from "./hatch.js";

/** @import { ClientOptions, Filter, HatchOptions, Wishes } from "./client.d.ts" */

export { HatcheryError };

const JSON_WIRE = { subprotocol: "hatch.v1.json", encode: JSON.stringify, decode: JSON.parse };
const HELLO = "hello";
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const STABLE_MS = 10_000; // open for so long, a connection counts as good: the next delay is the first again
const WELCOME_MS = 15_000; // from the first packet to `welcome`
const PONG_MS = 5_000;
const TICK_MS = 5_000;
const RESUME_AT_ONCE = 1_000; // cursors in one `hello`, which must stay below the longest message
const ANSWERS = new Set(["welcome", "accepted", "ok", "sessions", "error", "pong"]);

/** Open a connection that lasts until `close()`; returns at once. `url` may be http(s) or ws(s), with or without path. */
export function connect(url, /** @type {ClientOptions} */ options = {}) {
  return new Client(url, options);
}

/** Whether a close code means: do not come again. All others are for connecting again with backoff. */
export function isFinal(code) {
  return code >= 4500 && code < 4600;
}

/** Milliseconds before the attempt: half of it chance, so that many clients do not come at the same moment. */
export function delayMs(attempt, random = Math.random()) {
  const most = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt - 1, 16));
  return most * (0.5 + random / 2);
}

/** A connection and all that goes over it. Events: `status`, `welcome`, `session` (one that is followed), `goingaway`. */
export class Client extends EventTarget {
  status = { state: "connecting", attempt: 0 };
  welcome = null; // the last one
  #url;
  #options;
  #wire;
  #socket = null;
  #pending = new Map(); // id -> request; in the order in which they were made
  #hatches = new Map(); // session -> those who look at it
  #lastId = 0;
  #attempt = 0;
  #hint = null; // milliseconds [min, max], from `going_away`
  #error; // of `hello`
  #welcomedAt = Infinity; // of this connection
  #heard = false; // anything, since the last ping
  #heardAt = 0;
  #tickedAt = 0;
  #timers = {};
  #closing = new AbortController();
  #link = {
    ask: (message) => this.#ask(message),
    join: (hatch) => this.#join(hatch),
    leave: (hatch) => this.#leave(hatch),
    forget: (hatch) => this.#forget(hatch),
  };

  constructor(url, /** @type {ClientOptions} */ options = {}) {
    super();
    const { token, watchToken, codec, follow, client, WebSocket = globalThis.WebSocket } = options;
    if (!WebSocket) throw new TypeError("there is no global WebSocket here: pass one as an option");
    this.#url = socketUrl(url);
    this.#wire = codec ? msgpackWire(codec) : JSON_WIRE;
    this.#options = { token, watch_token: watchToken, client, follow: follow ?? undefined, WebSocket };
    this.#watchForWaking();
    this.#open();
  }

  /** Start a hatch. `spec` is a prompt, or `{prompt, persona?, image?}`; the same `key` finds the same session again. */
  hatch(spec, /** @type {HatchOptions} */ { key = randomKey(), onDisconnect, graceS, ...wishes } = {}) {
    const hatch = new Hatch(this.#link, { key, wishes: wishesOf(wishes) });
    this.#request(
      {
        type: "start",
        key,
        hatch: typeof spec === "string" ? { prompt: spec } : spec,
        watch: hatch._wishes ?? true,
        on_disconnect: onDisconnect,
        grace_s: graceS,
      },
      (accepted) => hatch._accept(accepted),
      (error) => hatch._fail(error),
    );
    return hatch;
  }

  /** Look at a session that exists. */
  watch(session, /** @type {Wishes} */ wishes = {}) {
    const hatch = new Hatch(this.#link, { session, wishes: wishesOf(wishes) });
    this.#join(hatch);
    this.#request({ type: "watch", session, ...hatch._wishes }, () => {}, (error) => hatch._fail(error));
    return hatch;
  }

  /** One page of the caller's sessions, newest first: `{items, before?}`; `before` leads to the next one. */
  list(/** @type {Filter} */ { states, limit, before } = {}) {
    return this.#ask({ type: "list", states, limit, before });
  }

  /** Hang up for good. What is unanswered or unfinished rejects with `closed`; the sessions go on. */
  close() {
    this.#release(1000);
    this.#stop();
  }

  // --- requests

  #ask(message) {
    return new Promise((resolve, reject) => this.#request(message, resolve, reject));
  }

  #request(message, answer, fail) {
    if (this.status.state === "closed") return fail(this.#closedError());
    const request = { message: { id: ++this.#lastId, ...message }, answer, fail };
    this.#pending.set(request.message.id, request);
    if (this.status.state === "open") this.#submit(request);
  }

  #submit({ message, fail }) {
    const data = this.#wire.encode(message);
    const size = typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
    const most = this.welcome.limits.message_bytes;
    if (size <= most) return this.#socket.send(data);
    this.#pending.delete(message.id); // sent, it would only cost the connection
    fail(new HatcheryError({ code: "too_large", message: `a message of ${size} bytes; at most ${most} are taken` }));
  }

  // --- sessions

  #join(hatch) {
    const those = this.#hatches.get(hatch.session) ?? new Set();
    this.#hatches.set(hatch.session, those.add(hatch));
  }

  #forget(hatch) {
    const those = this.#hatches.get(hatch.session);
    those?.delete(hatch);
    if (those?.size === 0) this.#hatches.delete(hatch.session);
  }

  #leave(hatch) {
    if (hatch.session === null) return;
    this.#forget(hatch);
    const done = () => {};
    if (!this.#hatches.has(hatch.session)) this.#request({ type: "unwatch", session: hatch.session }, done, done);
  }

  // --- the connection

  #open() {
    const { WebSocket } = this.#options;
    this.#setStatus({ state: "connecting", attempt: this.#attempt });
    const socket = (this.#socket = new WebSocket(this.#url, [this.#wire.subprotocol]));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(this.#wire.encode(this.#hello()));
    socket.onmessage = (event) => {
      this.#heard = true;
      this.#heardAt = Date.now();
      for (const message of this.#wire.decode(event.data)) if (this.#socket === socket) this.#take(message);
    };
    socket.onerror = () => {}; // `close` follows
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#timers.welcome = setTimeout(() => this.#lost(1006, "no welcome"), WELCOME_MS);
  }

  /** Sessions with wishes of their own are watched again after `welcome`, since a cursor cannot carry them. */
  #hello() {
    const { token, watch_token, client, follow } = this.#options;
    const plain = [...this.#hatches.values()].map(([hatch]) => hatch).filter((hatch) => isPlain(hatch));
    const resume = plain.slice(0, RESUME_AT_ONCE).map(({ view }) => ({ session: view.session, ...view.cursor }));
    return { type: "hello", id: HELLO, token, watch_token, client, follow, resume };
  }

  #take(message) {
    const request = this.#pending.get(message.id);
    if (request) {
      this.#pending.delete(message.id);
      if (message.type === "error") request.fail(new HatcheryError(message));
      else request.answer(message);
    } else if (message.id === HELLO) {
      this.#greet(message);
    } else if (message.type === "going_away") {
      this.#hint = message.reconnect_after_ms;
      emit(this, "goingaway", message);
    }
    if (message.session !== undefined && !ANSWERS.has(message.type)) this.#route(message);
  }

  #greet(message) {
    if (message.type === "error") {
      this.#error = new HatcheryError(message); // the gateway hangs up, and the code says whether to come again
      return;
    }
    clearTimeout(this.#timers.welcome);
    this.#error = undefined;
    this.#hint = null;
    this.#welcomedAt = this.#tickedAt = Date.now();
    this.welcome = message;
    const resumed = new Set(message.resumed.map(({ session }) => session));
    this.#timers.tick = setInterval(() => this.#tick(), TICK_MS);
    const unanswered = [...this.#pending.values()];
    this.#setStatus({ state: "open", attempt: this.#attempt });
    for (const { session, result } of message.resumed) if (result === "gone") this.#lose(session);
    for (const request of unanswered) {
      if (request.message.from) this.#pending.delete(request.message.id); // the cursors of now do better
      else this.#submit(request);
    }
    for (const [session, [hatch]] of this.#hatches) {
      if (hatch.view.epoch === 0 || resumed.has(session)) continue;
      const again = { type: "watch", session, from: hatch.view.cursor, ...hatch._wishes };
      this.#request(again, () => {}, (error) => hatch._fail(error));
    }
    emit(this, "welcome", message);
  }

  #lose(session) {
    const error = { code: "gone", message: "the session has expired, or the gateway has no memory of it" };
    for (const hatch of this.#hatches.get(session) ?? []) hatch._fail(new HatcheryError(error));
  }

  #route(message) {
    const those = this.#hatches.get(message.session);
    if (those) {
      for (const hatch of [...those]) hatch._take(message);
    } else if (message.type === "snapshot" && this.#options.follow) {
      const hatch = new Hatch(this.#link, { session: message.session });
      this.#join(hatch);
      emit(this, "session", hatch);
      hatch._take(message);
    }
  }

  #lost(code, reason) {
    this.#release();
    if (isFinal(code)) return this.#stop(code, reason);
    if (Date.now() - this.#welcomedAt > STABLE_MS) this.#attempt = 0;
    this.#welcomedAt = Infinity;
    this.#attempt += 1;
    const [least, most] = this.#hint ?? [];
    const delay = this.#hint ? least + Math.random() * (most - least) : delayMs(this.#attempt);
    this.#hint = null;
    this.#timers.retry = setTimeout(() => this.#open(), delay);
    const retryAtMs = Date.now() + delay;
    this.#setStatus({ state: "waiting", attempt: this.#attempt, retryAtMs, code, reason, error: this.#error });
  }

  #release(code) {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  #stop(code, reason) {
    this.#closing.abort();
    const left = [...this.#hatches.values()].flatMap((those) => [...those]);
    const unanswered = [...this.#pending.values()];
    this.#pending.clear();
    this.#setStatus({ state: "closed", attempt: this.#attempt, code, reason, error: this.#error });
    for (const { fail } of unanswered) fail(this.#closedError());
    for (const hatch of left) hatch._fail(this.#closedError());
  }

  #closedError() {
    const { code, reason, error } = this.status;
    const words = code ? `the gateway closed the connection: ${code} ${reason}` : "the connection was closed here";
    return error ?? new HatcheryError({ code: "closed", message: words });
  }

  #setStatus(status) {
    this.status = status;
    emit(this, "status", status);
  }

  // --- signs of life: a browser sees no protocol pings, and a connection that died in a machine's sleep says nothing

  #watchForWaking() {
    const { signal } = this.#closing;
    const wake = () => globalThis.document?.visibilityState !== "hidden" && this.#wake();
    for (const type of ["online", "pageshow"]) globalThis.addEventListener?.(type, wake, { signal });
    globalThis.document?.addEventListener("visibilitychange", wake, { signal });
  }

  #tick() {
    const now = Date.now();
    const slept = now - this.#tickedAt > 2 * TICK_MS;
    this.#tickedAt = now;
    if (slept || now - this.#heardAt > this.welcome.heartbeat_ms) this.#wake();
  }

  #wake() {
    if (this.status.state === "waiting") {
      clearTimeout(this.#timers.retry);
      this.#open();
    } else if (this.status.state === "open" && !this.#timers.pong) {
      this.#heard = false;
      this.#socket.send(this.#wire.encode({ type: "ping", id: "ping" }));
      this.#timers.pong = setTimeout(() => {
        this.#timers.pong = null;
        if (!this.#heard) this.#lost(4001, "no answer to a ping");
      }, PONG_MS);
    }
  }
}

function socketUrl(url) {
  const found = new URL(url ?? "/v1/ws", globalThis.location?.href);
  found.protocol = found.protocol.replace("http", "ws");
  if (found.pathname === "/") found.pathname = "/v1/ws";
  return found.href;
}

function msgpackWire({ encode, decode }) {
  return {
    subprotocol: "hatch.v1.msgpack",
    encode: (message) => encode(JSON.parse(JSON.stringify(message))), // which leaves out what is undefined
    decode: (data) => decode(new Uint8Array(data)),
  };
}

function wishesOf(/** @type {Wishes} */ { maxHz, previews }) {
  return maxHz === undefined && previews === undefined ? undefined : { max_hz: maxHz, previews };
}

function isPlain({ view, _wishes }) {
  return view.epoch > 0 && _wishes === undefined;
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // `randomUUID` wants https
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
