// All hatches on the page: one card each, the newest first.

import { HatchCard } from "./hatchcard.js";
import { loadShown, saveShown } from "./storage.js";
import { RUNNING } from "./words.js";

export const WISHES = { maxHz: 15, previews: true };
const LISTED = 50;
const PACE_MS = 66; // cards are drawn together: a frame costs much the same, however many change in it

/** The list of cards. Events: `change` (a card was drawn, came or went) and `ended` (detail: the card). */
export class Hatches extends EventTarget {
  constructor(list, section, { guest = false, does = {} } = {}) {
    super();
    this._list = list;
    this._section = section;
    this._guest = guest;
    this._does = { ...does, dismiss: (card) => this.dismiss(card) };
    this.cards = []; // the newest first
    this._due = new Set(); // cards to be drawn
    this._drawnAt = 0;
    this._timer = null;
  }

  /** Show a hatch, above all others or at another place. */
  add(hatch, { prompt, at = 0 } = {}) {
    const card = new HatchCard(hatch, { prompt, guest: this._guest, does: this._does });
    this._list.insertBefore(card.element, this.cards[at]?.element ?? null);
    this.cards.splice(at, 0, card);
    this._section.hidden = false;
    hatch.addEventListener("change", () => this._drawSoon(card));
    hatch.accepted.then(
      () => this._save(),
      () => {},
    ); // a refused one is told of where it was asked for
    this.dispatchEvent(new Event("change"));
    return card;
  }

  /** Take a card away; the hatch goes on. */
  dismiss(card) {
    const at = this.cards.indexOf(card);
    this.cards.splice(at, 1);
    this._due.delete(card);
    const focused = card.element.contains(document.activeElement);
    card.discard();
    this._section.hidden = this.cards.length === 0;
    if (focused)
      (
        this.cards[Math.min(at, this.cards.length - 1)]?.element.querySelector("button:not([hidden])") ??
        document.getElementById("prompt")
      ).focus();
    this._save();
    this.dispatchEvent(new Event("change"));
  }

  has(session) {
    return this.cards.some((card) => card.hatch.session === session);
  }

  /** The card that holds the focus, or else the newest that still runs. */
  current() {
    const focused = this.cards.find((card) => card.element.contains(document.activeElement));
    return focused?.running ? focused : this.cards.find((card) => card.running);
  }

  /** Show what runs, and what this tab showed before it was loaded again; each before the next older one. */
  async restore(client) {
    const shown = new Set(loadShown());
    const { items } = await client.list({ limit: LISTED });
    let at = this.cards.length;
    for (const { session, state, prompt } of items.reverse()) {
      const there = this.cards.findIndex((card) => card.hatch.session === session);
      if (there >= 0) at = there;
      else if (RUNNING.includes(state) || shown.has(session)) this.add(client.watch(session, WISHES), { prompt, at });
    }
  }

  _drawSoon(card) {
    this._due.add(card);
    this._timer ??= setTimeout(() => this._draw(), Math.max(0, this._drawnAt + PACE_MS - performance.now()));
  }

  _draw() {
    this._timer = null;
    this._drawnAt = performance.now();
    const due = [...this._due];
    this._due.clear();
    for (const card of due) card.draw();
    for (const card of due) {
      if (card.view.end) this.dispatchEvent(new CustomEvent("ended", { detail: card })); // its last change
    }
    this.dispatchEvent(new Event("change"));
  }

  _save() {
    if (!this._guest) saveShown(this.cards.map((card) => card.hatch.session).filter(Boolean));
  }
}
