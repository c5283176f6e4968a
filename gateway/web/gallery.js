// The gallery: all agents, the newest first, found by their words.

import { byId, el, setText } from "./dom.js";
import { get } from "./rest.js";
import { ago } from "./words.js";

const PAGE = 24;
const PATIENCE_MS = 200;

/** A grid of agents; `open(agent)` is called with the one that was chosen. */
export class Gallery {
  constructor({ open }) {
    this._open = open;
    this._list = byId("agents");
    this._search = byId("gallery-search");
    this._more = byId("gallery-more");
    this._asked = 0; // an answer to an older question is not shown
    this._before = undefined;
    this._items = new Map();
    this._search.addEventListener("input", () => this._searchSoon());
    this._more.addEventListener("click", () => this._load(this._before));
    this._list.addEventListener("keydown", (event) => this._walk(event));
  }

  /** Ask anew for the first page. */
  async refresh() {
    await this._load(undefined);
  }

  /** One agent, from here or from the gateway. */
  async find(agent) {
    return this._items.get(agent) ?? get(`/v1/agents/${encodeURIComponent(agent)}`);
  }

  /** Take one away that is gone. */
  drop(agent) {
    this._items.delete(agent);
    const tile = this._tile(agent);
    const neighbour = tile?.nextElementSibling ?? tile?.previousElementSibling;
    tile?.remove();
    (neighbour?.firstElementChild ?? this._search).focus();
    this._describe();
  }

  /** Give the focus back to a tile, wherever it is. */
  focusOn(agent) {
    this._tile(agent)?.firstElementChild.focus({ preventScroll: true });
  }

  _searchSoon() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.refresh(), PATIENCE_MS);
  }

  async _load(before) {
    const question = (this._asked += 1);
    const query = new URLSearchParams({ limit: PAGE });
    if (this._search.value.trim()) query.set("q", this._search.value.trim());
    if (before) query.set("before", before);
    try {
      const page = await get(`/v1/agents?${query}`);
      if (question === this._asked) this._show(page, before);
    } catch (error) {
      if (question === this._asked && error.status !== 401 && error.status !== 404)
        setText(byId("gallery-note"), `The gallery is out of reach: ${error.message}`);
    }
  }

  _show({ items, before }, from) {
    this._before = before;
    this._more.hidden = !before;
    if (!from) this._items.clear();
    for (const item of items) this._items.set(item.agent, item);
    const tiles = items.map((item) => this._tile(item.agent) ?? this._makeTile(item));
    if (from) this._list.append(...tiles);
    else this._list.replaceChildren(...tiles);
    this._describe();
  }

  _describe() {
    const searched = this._search.value.trim() !== "";
    byId("gallery").hidden = this._items.size === 0 && !searched;
    setText(byId("gallery-note"), this._items.size === 0 && searched ? "Nobody by these words." : "");
    const buttons = [...this._list.querySelectorAll("button")];
    if (!buttons.some((button) => button.tabIndex === 0) && buttons.length) buttons[0].tabIndex = 0;
  }

  _tile(agent) {
    return this._list.querySelector(`[data-agent="${CSS.escape(agent)}"]`);
  }

  _makeTile({ agent, persona, avatar_url, created_at_ms }) {
    const picture = el("img", {
      src: avatar_url,
      alt: "",
      width: 256,
      height: 256,
      loading: "lazy",
      decoding: "async",
    });
    const button = el(
      "button",
      { type: "button", tabIndex: -1, onclick: () => this._open(agent), onfocus: () => this._rove(button) },
      el("span", { className: "agent-picture" }, picture),
      el("span", { className: "agent-name", dir: "auto" }, persona.name),
      el("span", { className: "agent-kind", dir: "auto" }, persona.species),
      el("span", { className: "unseen" }, `, hatched ${ago(created_at_ms, Date.now())}`),
    );
    return el("li", { "data-agent": agent }, button);
  }

  /** One tile at a time can be reached with Tab; arrows lead to the others. */
  _rove(button) {
    for (const other of this._list.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    button.tabIndex = 0;
  }

  _walk(event) {
    const buttons = [...this._list.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    if (at < 0) return;
    const top = buttons[0].getBoundingClientRect().top;
    const columns = Math.max(
      1,
      buttons.findIndex((button) => button.getBoundingClientRect().top > top + 1),
    );
    const to = {
      ArrowRight: at + 1,
      ArrowLeft: at - 1,
      ArrowDown: at + columns,
      ArrowUp: at - columns,
      Home: 0,
      End: buttons.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons[to]?.focus();
  }
}
