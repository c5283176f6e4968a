/** One session as its client holds it: events, an async iterator and promises over its view. */

import { View } from "./view.js";

/** @import { Refusal, WatchOptions } from "./client.d.ts" */

const QUEUED = 1_000; // messages that wait for a `for await` before one snapshot stands for them

/** What the gateway refused, or (`closed`) what the end of the connection left undone. */
export class HatcheryError extends Error {
  constructor(/** @type {Refusal} */ { code, message, retryable = false, retry_after_ms, field }) {
    super(message);
    this.name = "HatcheryError";
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retry_after_ms;
    this.field = field;
  }
}

/**
 * One session, started or watched. Events: `message` (each one, in order) and `change` (at most once a frame, and at the end).
 * `for await` gives the messages up to `end`, beginning with a snapshot of what was before; who falls far behind gets
 * a snapshot in place of what waited. What begins with an underscore is the Client's.
 */
export class Hatch extends EventTarget {
  view = new View();
  #link;
  #accepted = deferred();
  #done = deferred();
  #failure = null;
  #over = false;
  #lost = true; // a snapshot has been asked for; until it comes, everything else is superseded
  #unschedule = null; // while a change waits for its frame
  #wakers = new Set();

  constructor(link, /** @type {{session?: string, key?: string, wishes?: WatchOptions}} */ { session, key, wishes }) {
    super();
    this.session = this.view.session = session ?? null;
    this.key = key;
    this._wishes = wishes;
    this.#link = link;
    this.accepted = this.#accepted.promise;
    this.done = this.#done.promise;
    if (session !== undefined) this.#accepted.resolve(session);
  }

  /** Ask for an end, whether or not the start has been answered; resolves with the `ok`, which is not yet the end. */
  cancel(reason) {
    const named = this.session === null ? { key: this.key } : { session: this.session };
    return this.#link.ask({ type: "cancel", ...named, reason });
  }

  /** Be told no more. The session goes on; `done` rejects with `closed` unless it had ended. */
  unwatch() {
    if (this.#over) return;
    this.#finish();
    this.#done.reject(new HatcheryError({ code: "closed", message: "the session is no longer watched" }));
    this.#link.leave(this);
  }

  async *[Symbol.asyncIterator]() {
    const queue = this.view.epoch > 0 ? [this.view.snapshot()] : [];
    let wake = (_) => {};
    const waker = () => wake(null);
    const take = (event) => {
      if (queue.push(event.detail) > QUEUED) queue.splice(0, queue.length, this.view.snapshot());
      wake();
    };
    this.addEventListener("message", take);
    this.#wakers.add(waker);
    try {
      for (;;) {
        while (queue.length) yield queue.shift();
        if (this.#failure) throw this.#failure;
        if (this.#over) return;
        await new Promise((resolve) => (wake = resolve));
      }
    } finally {
      this.removeEventListener("message", take);
      this.#wakers.delete(waker);
    }
  }

  _accept(accepted) {
    this.session = this.view.session = accepted.session;
    this.#accepted.resolve(accepted.session);
    if (!this.#over) this.#link.join(this);
    else this.#link.leave(this); // `unwatch` came first
  }

  _take(message) {
    if (this.#over || (this.#lost && message.type !== "snapshot")) return;
    if (!this.view.take(message)) {
      this.#lost = true;
      const again = { type: "watch", session: this.session, from: this.view.cursor, ...this._wishes };
      const found = (answer) => answer.type === "ok" && (this.#lost = false);
      this.#link.ask(again).then(found, (error) => this._fail(error));
      return;
    }
    this.#lost = false;
    if (this.view.end) this.#finish();
    emit(this, "message", message);
    if (!this.view.end) {
      this.#unschedule ??= onNextFrame(() => this.#change());
      return;
    }
    this.#unschedule?.();
    this.#change();
    this.#done.resolve(this.view.end);
  }

  _fail(error) {
    if (this.#over) return;
    this.#failure = error;
    this.#finish();
    this.#accepted.reject(error);
    this.#done.reject(error);
    this.#link.forget(this);
  }

  #change() {
    this.#unschedule = null;
    emit(this, "change", this.view);
  }

  #finish() {
    this.#over = true;
    for (const wake of this.#wakers) wake();
    if (this.view.end) this.#link.forget(this);
  }
}

export function emit(target, type, detail) {
  target.dispatchEvent(new CustomEvent(type, { detail }));
}

/** Once, at the next frame; in a hidden page, where there are none, soon. Returns what takes it back. */
function onNextFrame(act) {
  if (!globalThis.requestAnimationFrame) {
    const timer = setTimeout(act, 16);
    return () => clearTimeout(timer);
  }
  const takeBack = () => (cancelAnimationFrame(frame), clearTimeout(timer));
  const frame = requestAnimationFrame(() => (takeBack(), act()));
  const timer = setTimeout(() => (takeBack(), act()), 250);
  return takeBack;
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  made.promise.catch(() => {}); // who does not look at it is told by other means
  return made;
}
