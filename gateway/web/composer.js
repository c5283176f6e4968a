// The prompt box: what to hatch, with which options, and what was asked before.

import { Choices } from "./choices.js";
import { byId, el, setText } from "./dom.js";
import { InputPicture } from "./inputpicture.js";
import { loadHistory, loadSettings, remember, saveSettings } from "./storage.js";
import { shorten } from "./words.js";

const SIZES = [
  ["", "as the model likes"],
  ["512x512", "512 × 512"],
  ["768x768", "768 × 768"],
  ["1024x1024", "1024 × 1024"],
  ["768x1024", "768 × 1024, upright"],
  ["1024x768", "1024 × 768, wide"],
];
const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
const SEEDS = 1_000_000; // enough to choose from, and short enough to be read

/** The form; `hatch({prompt, image})` is called for each one, `changed(settings)` when an option is. */
export class Composer {
  constructor({ hatch, changed }) {
    this._hatch = hatch;
    this._changed = changed;
    this._prompt = byId("prompt");
    this._size = byId("option-size");
    this._steps = byId("option-steps");
    this._seed = byId("option-seed");
    this._checks = { previews: byId("option-previews"), sound: byId("option-sound"), notify: byId("option-notify") };
    this._recalled = -1;
    this._choices = new Choices();
    this.input = new InputPicture({ complain: (text) => this.complain(text) });
    this._size.append(...SIZES.map(([value, label]) => el("option", { value }, label)));
    setText(byId("hatch-key"), MAC ? "⌘↵" : "Ctrl ↵");
    this._toggle("options");
    this._toggle("recent", () => this._listRecent());
    this.settings = loadSettings();
    this._write(this.settings);
    byId("options").addEventListener("change", () => this._read());
    byId("composer").addEventListener("submit", (event) => this._submit(event));
    this._prompt.addEventListener("keydown", (event) => this._key(event));
    this._prompt.addEventListener("input", () => (this._recalled = -1));
  }

  /** Put a prompt, and options if some are known, into the form. */
  take({ prompt, image = {} }) {
    this._prompt.value = prompt;
    const size = image.width && image.height ? `${image.width}x${image.height}` : this.settings.size;
    this._write({
      ...this.settings,
      size,
      steps: image.steps ?? this.settings.steps,
      seed: image.seed ?? this.settings.seed,
      model: image.model ?? this.settings.model,
    });
    this._read();
    this._prompt.focus();
  }

  /** What the options ask of a picture; a seed is always named, so that the same one can be asked for again. */
  image() {
    const { size, steps, seed } = this.settings;
    const [width, height] = size ? size.split("x").map(Number) : [];
    const asked = { ...(size && { width, height }), ...(steps && { steps }), ...this._choices.image() };
    return { ...asked, seed: seed ?? freshSeed() };
  }

  /** Let the bounds and the choices be the gateway's. */
  limit({ limits, choices }) {
    this._prompt.maxLength = limits.prompt_chars;
    this._steps.max = limits.steps;
    this._choices.offer(choices);
    this._summarise();
  }

  complain(text) {
    setText(byId("complaint"), text);
  }

  focus() {
    this._prompt.focus();
  }

  submit() {
    byId("composer").requestSubmit();
  }

  async _submit(event) {
    event.preventDefault();
    const prompt = this._prompt.value.trim();
    if (!prompt) {
      this.complain("Say in a sentence who it shall be.");
      this._prompt.focus();
      return;
    }
    this.complain("");
    remember(prompt);
    this._recalled = -1;
    const image = this.image();
    const input = await this.input.id();
    this._hatch({ prompt, image: input ? { ...image, input } : image });
  }

  /** Arrow up at the very beginning recalls earlier prompts, as in a shell. */
  _key(event) {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    const recalling = this._recalled >= 0 || this._prompt.value === "";
    if (!step || !recalling || event.shiftKey || event.isComposing) return;
    const history = loadHistory();
    const next = Math.min(history.length - 1, this._recalled + step);
    if (next === this._recalled || next < -1) return;
    event.preventDefault();
    this._recalled = next;
    this._prompt.value = history[next] ?? "";
  }

  _listRecent() {
    const take = (prompt) => () => {
      this.take({ prompt });
      byId("recent-button").click();
      this._prompt.focus();
    };
    const items = loadHistory().map((prompt) =>
      el("li", {}, el("button", { type: "button", onclick: take(prompt) }, shorten(prompt, 120))),
    );
    byId("recent").replaceChildren(...(items.length ? items : [el("li", { className: "nothing" }, "Nothing yet.")]));
  }

  _toggle(id, opening = () => {}) {
    const button = byId(`${id}-button`);
    button.addEventListener("click", () => {
      const panel = byId(id);
      if (panel.hidden) opening();
      panel.hidden = !panel.hidden;
      button.setAttribute("aria-expanded", String(!panel.hidden));
    });
  }

  _write({ size, steps, seed, model, loras, ...checks }) {
    if (
      size &&
      !SIZES.some(([value]) => value === size) &&
      ![...this._size.options].some(({ value }) => value === size)
    ) {
      this._size.append(el("option", { value: size }, size.replace("x", " × ")));
    }
    this._size.value = size;
    this._steps.value = steps ?? "";
    this._seed.value = seed ?? "";
    this._choices.write({ model, loras });
    for (const [name, box] of Object.entries(this._checks)) box.checked = checks[name];
    this._summarise();
  }

  _read() {
    const checks = Object.fromEntries(Object.entries(this._checks).map(([name, box]) => [name, box.checked]));
    const picture = { size: this._size.value, steps: whole(this._steps), seed: whole(this._seed) };
    this.settings = { ...picture, ...this._choices.read(), ...checks };
    saveSettings(this.settings);
    this._summarise();
    this._changed(this.settings);
  }

  _summarise() {
    const { size, steps, seed } = this.settings;
    const { model, loras } = this._choices.read();
    const parts = [
      model,
      ...loras,
      size && size.replace("x", " × "),
      steps && `${steps} ${steps === 1 ? "step" : "steps"}`,
      seed != null && `seed ${seed}`,
    ];
    setText(byId("options-summary"), parts.filter(Boolean).join(" · "));
  }
}

/** A seed that nobody has chosen. */
export const freshSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;

function whole(input) {
  return input.value !== "" && input.validity.valid ? Math.trunc(input.valueAsNumber) : null;
}
