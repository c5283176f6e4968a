// How things stand, in the tab: percent in the title, state in the icon.

import { byId } from "./dom.js";
import { shorten } from "./words.js";

const ICON_MS = 1000; // at most one new icon in that time
const COLOURS = { running: "#d9632f", done: "#4d8b57", failed: "#b3402e", idle: "none" };

/** Shows the newest running hatch, and how many more there are; `show(cards)` as often as you like. */
export class Title {
  constructor() {
    this._iconAt = 0;
    this._icon = "";
  }

  show(cards) {
    const running = cards.filter((card) => card.running);
    const [first] = running;
    const title = first
      ? `${percentOf(first.view)}${more(running.length)}${shorten(nameOf(first.view), 40)} · Hatchery`
      : ended(cards[0]);
    if (document.title !== title) document.title = title;
    const state = first ? "running" : (cards[0]?.view.state ?? "idle");
    this._show(icon(state in COLOURS ? state : "idle", first ? Math.floor(first.view.percent) : 100));
  }

  _show(icon) {
    const wait = this._iconAt + ICON_MS - Date.now();
    this._next = icon;
    if (icon === this._icon || this._timer) return;
    this._timer = setTimeout(
      () => {
        this._timer = null;
        this._iconAt = Date.now();
        this._icon = this._next;
        byId("favicon").href = `data:image/svg+xml,${encodeURIComponent(this._next)}`;
      },
      Math.max(0, wait),
    );
  }
}

const percentOf = (view) => (view.basis === "indeterminate" ? "… " : `${Math.floor(view.percent)} % `);
const more = (count) => (count > 1 ? `(+${count - 1}) ` : "");
const nameOf = (view) => view.persona.name || view.prompt || "Hatching";

function ended(card) {
  if (!card?.view.end) return "Hatchery";
  const mark = { done: "Hatched", failed: "Failed", cancelled: "Stopped" }[card.view.state];
  return `${mark}: ${shorten(nameOf(card.view), 40)} · Hatchery`;
}

function icon(state, percent) {
  const full = 81.7; // the ring's length, 2 pi 13
  const dashes = `${((full * percent) / 100).toFixed(1)} ${full}`;
  return [
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">',
    '<path d="M16 6c4 0 7 6.4 7 11.2S20 25 16 25s-7-3-7-7.8S12 6 16 6z" fill="#f3e3cb" stroke="#8a5a3c"/>',
    `<circle cx="16" cy="16" r="13" fill="none" stroke="${COLOURS[state]}" stroke-width="4" `,
    `stroke-linecap="round" stroke-dasharray="${dashes}" transform="rotate(-90 16 16)"/></svg>`,
  ].join("");
}
