// One bar for the whole hatch; how it looks says how the percent is known.

import { el, setAttribute, setText } from "./dom.js";
import { factsOf, stageOf } from "./words.js";

/** Measured: solid. Estimated: striped. Indeterminate: something moves, and no percent is claimed. */
export class ProgressBar {
  constructor(label) {
    this._fill = el("span", { className: "bar-fill" });
    this._track = el(
      "div",
      { className: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100" },
      this._fill,
      el("span", { className: "bar-shuttle" }),
      el("span", { className: "bar-notch" }),
    );
    this._percent = el("span", { className: "bar-percent" });
    this._stage = el("span", { className: "bar-stage" });
    this._facts = el("span", { className: "bar-facts" });
    this.element = el(
      "div",
      { className: "progress" },
      el("div", { className: "bar-line" }, this._stage, this._percent),
      this._track,
      el("div", { className: "bar-below" }, this._facts),
    );
    this._shown = {};
  }

  /** Draw a running hatch; only what changed is touched. */
  show(view) {
    const percent = view.percent ?? 0;
    const basis = view.stage == null || view.state === "cancelling" ? "indeterminate" : (view.basis ?? "indeterminate");
    if (basis !== this._shown.basis) {
      this._shown.basis = basis;
      this._track.dataset.basis = basis;
    }
    if (percent !== this._shown.percent) {
      this._shown.percent = percent;
      this._fill.style.transform = `translateX(${percent - 100}%)`;
    }
    const claimed = basis !== "indeterminate";
    const whole = Math.floor(percent);
    setAttribute(this._track, "aria-valuenow", claimed ? whole : null);
    setAttribute(
      this._track,
      "aria-valuetext",
      claimed ? `${whole} percent, ${basis}, ${stageOf(view)}` : stageOf(view),
    );
    setText(this._percent, claimed ? `${basis === "estimated" ? "≈ " : ""}${whole} %` : "");
    setText(this._stage, stageOf(view));
    setAttribute(this._stage, "title", stageOf(view)); // which may be too long to be shown whole
    setText(this._facts, factsOf(view).join(" · "));
  }
}
