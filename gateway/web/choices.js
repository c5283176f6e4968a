// Models and LoRAs: what the gateway lets a hatch name, shown where there is a choice.

import { byId, el } from "./dom.js";

/** The fields of the form for `{model, loras}`, by name; "" is the model that draws where none is named. */
export class Choices {
  constructor() {
    this._model = byId("option-model");
    this._loras = byId("option-loras");
    this._boxes = [];
    this._chosen = { model: "", loras: [] };
    this._offered = null; // until the gateway has told
  }

  /** Show what there is to choose from now on, and what of it is chosen. */
  offer({ models = [], loras = [] } = {}) {
    this._offered = { models, loras };
    const options = models.map((name) => el("option", { value: name }, name));
    this._model.replaceChildren(el("option", { value: "" }, "the gateway's own"), ...options);
    this._model.parentElement.hidden = models.length === 0;
    this._boxes = loras.map((name) => el("input", { type: "checkbox", value: name }));
    this._loras.replaceChildren(...this._boxes.map((box) => el("label", { className: "chip" }, box, box.value)));
    this._loras.parentElement.hidden = loras.length === 0;
    this.write(this._chosen);
  }

  write({ model, loras }) {
    this._chosen = { model, loras };
    this._model.value = this._offered?.models.includes(model) ? model : "";
    for (const box of this._boxes) box.checked = loras.includes(box.value);
  }

  /** What is chosen; of what is not on offer here, nothing. */
  read() {
    if (this._offered === null) return this._chosen;
    return { model: this._model.value, loras: this._boxes.filter((box) => box.checked).map((box) => box.value) };
  }

  /** The same as a hatch says it. */
  image() {
    const { model, loras } = this.read();
    return { ...(model && { model }), ...(loras.length > 0 && { lora: loras }) };
  }
}
