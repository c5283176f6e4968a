// The persona, field by field, as it is written.

import { el, setText } from "./dom.js";

const COLOUR = /^#[0-9a-f]{6}$/i;
const LABELS = { system_prompt: "System prompt", avatar_prompt: "Avatar prompt" };

/** Fields that grow; `show` takes the whole or partial persona and touches only what differs. */
export class PersonaSheet {
  constructor() {
    this._texts = {
      name: el("h3", { className: "name" }),
      species: text("p", "species"),
      tagline: text("p", "tagline"),
      backstory: text("p", "backstory"),
      greeting: text("blockquote", "greeting"),
      system_prompt: text("p", "fine"),
      avatar_prompt: text("p", "fine"),
    };
    this._traits = el("ul", { className: "traits", dir: "auto", "aria-label": "Traits" });
    this._palette = el("div", { className: "palette", role: "img", hidden: true });
    const fine = (field) =>
      el("section", { className: "fine-print", hidden: true }, el("h4", {}, LABELS[field]), this._texts[field]);
    this._fine = { system_prompt: fine("system_prompt"), avatar_prompt: fine("avatar_prompt") };
    const { name, species, tagline, backstory, greeting } = this._texts;
    this.element = el(
      "div",
      { className: "persona" },
      el("div", { className: "name-row", dir: "auto" }, name, this._palette),
      species,
      tagline,
      this._traits,
      backstory,
      greeting,
      ...Object.values(this._fine),
    );
    this._writing = null;
  }

  /** Show `persona`; `writing` puts the caret where it grew last. */
  show(persona, writing) {
    let grown = null;
    for (const [field, node] of Object.entries(this._texts)) {
      if (grow(node, persona[field] ?? "")) grown = node;
    }
    for (const [field, section] of Object.entries(this._fine)) section.hidden = !persona[field];
    if (growList(this._traits, persona.traits ?? [])) grown = this._traits.lastElementChild;
    this._showPalette(persona.palette ?? []);
    if (!writing || grown) this._moveCaret(writing ? grown : null);
    return grown !== null;
  }

  _moveCaret(node) {
    if (node === this._writing) return;
    this._writing?.classList.remove("writing");
    node?.classList.add("writing");
    this._writing = node;
  }

  _showPalette(palette) {
    const colours = palette.filter((colour) => COLOUR.test(colour));
    const label = `Colours: ${colours.join(", ")}`;
    if (this._palette.getAttribute("aria-label") === label) return;
    this._palette.setAttribute("aria-label", label);
    this._palette.hidden = colours.length === 0;
    this._palette.replaceChildren(
      ...colours.map((colour) => {
        const swatch = el("span", { title: colour });
        swatch.style.setProperty("background-color", colour);
        return swatch;
      }),
    );
  }
}

/** An element for what somebody wrote, in the direction of its script. */
function text(name, className) {
  return el(name, { className, dir: "auto" });
}

/** Append what is new, or replace what is different; tells whether anything was. */
function grow(node, text) {
  const shown = node.textContent;
  if (shown === text) return false;
  if (shown !== "" && text.startsWith(shown)) node.firstChild.appendData(text.slice(shown.length));
  else setText(node, text);
  return text !== "";
}

function growList(list, items) {
  let grown = false;
  while (list.children.length > items.length) list.lastElementChild.remove();
  items.forEach((item, i) => {
    if (!list.children[i]) list.append(el("li"));
    grown = grow(list.children[i], item) || grown;
  });
  return grown;
}
