// What a screen reader hears: milestones, not every tick, and never two at once.

import { byId } from "./dom.js";
import { outcomeOf, receiptOf, shorten, stageOf } from "./words.js";

const PAUSE_MS = 4000;
const EVERY = 25; // percent

/** Speaks for all cards; `hear(card)` whenever one has changed. */
export class Announcer {
  constructor() {
    this._said = new WeakMap();
    this._queue = new Map(); // by card: only its latest news waits
  }

  hear(card) {
    const { view } = card;
    const milestone = view.end
      ? "end"
      : `${view.attempt}/${stageOf(view)}/${view.basis === "indeterminate" ? "" : Math.floor(view.percent / EVERY)}`;
    if (this._said.get(card) === milestone) return;
    this._said.set(card, milestone);
    this._queue.set(card, view.end ? endOf(view) : progressOf(view));
    this._timer ??= setTimeout(
      () => this._speak(),
      this._saidAt ? Math.max(0, this._saidAt + PAUSE_MS - Date.now()) : 0,
    );
  }

  _speak() {
    this._timer = null;
    const [[card, words]] = this._queue;
    this._queue.delete(card);
    this._saidAt = Date.now();
    byId("announcer").textContent = words;
    if (this._queue.size) this._timer = setTimeout(() => this._speak(), PAUSE_MS);
  }
}

const nameOf = (view) => view.persona.name || shorten(view.prompt || "The hatch", 40);

function progressOf(view) {
  const again = view.attempt > 1 ? `, attempt ${view.attempt}` : "";
  const percent = view.basis === "indeterminate" ? "" : `, ${Math.floor(view.percent)} percent`;
  return `${nameOf(view)}: ${stageOf(view)}${percent}${again}`;
}

function endOf(view) {
  if (view.end.outcome === "failed") return `${nameOf(view)} failed: ${view.end.error?.message ?? ""}`;
  return `${outcomeOf(view)}: ${receiptOf(view.end)}`;
}
