// One hatch as a card: its egg, its persona, its bar, and what can be done about it.

import { el, setText } from "./dom.js";
import { Egg } from "./egg.js";
import { PersonaSheet } from "./persona.js";
import { ProgressBar } from "./progressbar.js";
import { shareButton } from "./share.js";
import { ASKED, isRunning, outcomeOf, receiptOf, shorten, whyOf } from "./words.js";

const MOODS = {
  queued: "resting",
  writing: "stirring",
  waiting: "resting",
  drawing: "rocking",
  cancelling: "resting",
  done: "rocking",
  failed: "hurt",
  cancelled: "asleep",
};

/** `draw` shows `hatch.view` as it is; `does` holds what its buttons do: dismiss, again, open. */
export class HatchCard {
  constructor(hatch, { prompt = "", guest = false, does }) {
    this.hatch = hatch;
    this._does = does;
    this._guest = guest;
    this._attempt = 0;
    this.seenRunning = false;
    this._egg = new Egg(prompt || hatch.session);
    this._sheet = new PersonaSheet();
    this._bar = new ProgressBar("Progress of the hatch");
    this._build(prompt);
    hatch.done.catch((error) => this._lose(error));
    this.draw();
  }

  get view() {
    return this.hatch.view;
  }

  get running() {
    return isRunning(this.view) && !this._lost;
  }

  /** Ask for its end. */
  cancel() {
    if (!this.running || this._guest) return;
    this._cancel.disabled = true;
    setText(this._cancel, "Stopping…");
    this.hatch.cancel(ASKED).catch((error) => {
      this._cancel.disabled = false;
      setText(this._cancel, "Stop");
      setText(this._note, error.message);
    });
  }

  /** Take it off the page; the hatch itself goes on. */
  discard() {
    this._egg.discard();
    this.element.remove();
  }

  draw() {
    const { view } = this;
    this.element.dataset.state = view.state;
    if (view.prompt) setText(this._prompt, view.prompt);
    if (view.attempt !== this._attempt) this._beginAttempt(view.attempt);
    const writing = view.state === "writing";
    if (this._sheet.show(view.persona, writing) && writing) this._follow();
    if (this._writing && !writing) this._scroll.scrollTo({ top: 0, behavior: "smooth" }); // back to who it is
    this._writing = writing;
    this._egg.setPalette(view.persona.palette);
    this._egg.setMood(MOODS[view.state] ?? "resting");
    this._sheet.element.classList.toggle("blank", !view.persona.name);
    if (isRunning(view)) this._drawRunning(view);
    else this._drawEnd(view);
  }

  _drawRunning(view) {
    this.seenRunning ||= view.epoch > 0;
    this._egg.setPercent(view.percent ?? 0);
    this._egg.setPreview(view.preview);
    this._bar.show(view);
  }

  _drawEnd(view) {
    if (this._ended) return;
    this._ended = true;
    const { end } = view;
    this._egg.setPreview(null);
    if (end.outcome === "done") this._hatch(view);
    setText(this._outcome, outcomeOf(view));
    setText(this._receipt, receiptOf(end));
    setText(this._note, whyOf(view));
    this._bar.element.hidden = true;
    this._end.hidden = false;
    this._cancel.hidden = true;
    for (const button of [this._dismiss, this._again, this._open]) button.hidden = this._guest;
    this._open.hidden ||= !view.agent;
  }

  _hatch(view) {
    const avatar = view.artifacts.findLast((artifact) => artifact.kind === "avatar");
    this._egg.setPercent(100);
    if (!avatar) return;
    const { url, width, height } = avatar;
    this._egg.hatch(url, `${view.persona.name}, ${view.persona.species}`, {
      width,
      height,
      atOnce: !this.seenRunning,
    });
  }

  _beginAttempt(attempt) {
    this._attempt = attempt;
    setText(this._note, attempt > 1 ? `Begun again, attempt ${attempt}` : "");
  }

  _lose(error) {
    if (this.view.end || error.code === "closed") return;
    this._lost = true;
    setText(this._outcome, "Lost sight of it");
    setText(this._note, error.message);
    this._egg.setMood("hurt");
    this._bar.element.hidden = true;
    this._end.hidden = false;
    this._cancel.hidden = true;
    this._dismiss.hidden = false;
  }

  /** Keep the line that is written in sight, unless somebody has scrolled up to read. */
  _follow() {
    const sheet = this._scroll;
    const rest = sheet.scrollHeight - sheet.clientHeight - sheet.scrollTop;
    if (rest > 0 && rest < 80) sheet.scrollTop = sheet.scrollHeight;
  }

  _build(prompt) {
    const button = (text, act, props = {}) =>
      el("button", { type: "button", className: "quiet", onclick: act, ...props }, text);
    this._prompt = el("p", { className: "card-prompt", dir: "auto" }, prompt);
    this._note = el("p", { className: "note" });
    this._outcome = el("p", { className: "outcome" });
    this._receipt = el("p", { className: "receipt" });
    this._end = el("div", { className: "ending", hidden: true }, this._outcome, this._receipt);
    this._cancel = button("Stop", () => this.cancel(), { className: "stop", hidden: this._guest });
    this._share = this._guest ? "" : shareButton(() => this.hatch.accepted);
    this._again = button("Hatch again", () => this._does.again(this.view), { hidden: true });
    this._open = button("Open", () => this._does.open(this.view.agent), { hidden: true });
    this._dismiss = button("×", () => this._does.dismiss(this), {
      className: "dismiss",
      hidden: true,
      "aria-label": "Put this card away",
    });
    this._scroll = el(
      "div",
      { className: "card-scroll", tabIndex: 0, role: "group", "aria-label": "Persona" },
      this._sheet.element,
    );
    this.element = el(
      "li",
      { className: "card" },
      el(
        "article",
        { "aria-label": shorten(prompt || "A hatch", 80) },
        el("div", { className: "card-nest" }, this._egg.element),
        el("div", { className: "card-head" }, this._prompt, this._dismiss),
        this._scroll,
        el(
          "div",
          { className: "card-foot" },
          el("div", { className: "card-state" }, this._bar.element, this._end, this._note),
          el("div", { className: "card-actions" }, this._open, this._again, this._cancel, this._share),
        ),
      ),
    );
  }
}
