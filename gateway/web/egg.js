// The egg: cracks as the percent grows, shows who is inside, and opens onto the avatar.

import { el, setAttribute } from "./dom.js";
import { drawEgg } from "./shell.js";

const OPENS_AT = 72; // percent from which the halves part if there is no preview
const GAP = 30; // when it stands open; wider where there is a picture to see
const COLOUR = /^#[0-9a-f]{6}$/i;

/** One egg; `seed` (any text) decides where its speckles and cracks are. */
export class Egg {
  constructor(seed) {
    this._egg = drawEgg(seed);
    this._shown = {};
    this._previewUrl = null;
    this.element = el("div", { className: "egg", "aria-hidden": "true" }, this._egg.drawing, this._egg.nest);
  }

  /** How far it is, 0 to 100: how much is cracked, and how wide it stands open. */
  setPercent(percent) {
    const crack = Math.round(percent * 2) / 2;
    if (crack === this._shown.crack) return;
    this._shown.crack = crack;
    for (const { path, from, to } of this._egg.cracks) {
      const share = Math.min(1, Math.max(0, (crack - from) / (to - from)));
      setAttribute(path, "stroke-dashoffset", 100 - 100 * share);
      setAttribute(path, "visibility", share > 0 ? "visible" : "hidden");
    }
    this._open();
  }

  /** `resting`, `stirring`, `rocking`, `asleep` (cancelled) or `hurt` (failed). */
  setMood(mood) {
    if (mood === this._shown.mood) return;
    this._shown.mood = mood;
    this.element.dataset.mood = mood;
  }

  /** The persona's colours speckle the shell; what is no colour, or only half written, is ignored. */
  setPalette(palette) {
    const colours = (Array.isArray(palette) ? palette : []).filter((colour) => COLOUR.test(colour));
    const key = colours.join();
    if (key === this._shown.palette) return;
    this._shown.palette = key;
    ["--speck-a", "--speck-b", "--speck-c"].forEach((name, i) => {
      const colour = colours[i % (colours.length || 1)];
      if (colour) this._egg.drawing.style.setProperty(name, colour);
      else this._egg.drawing.style.removeProperty(name);
    });
  }

  /** Show an unfinished picture between the halves. */
  setPreview(preview) {
    if (preview === this._shown.preview) return;
    this._shown.preview = preview;
    const before = this._previewUrl;
    this._previewUrl = preview ? URL.createObjectURL(asBlob(preview)) : null;
    if (preview) this._egg.picture.setAttribute("href", this._previewUrl);
    else this._egg.picture.removeAttribute("href");
    if (before) URL.revokeObjectURL(before);
    this.element.classList.toggle("has-preview", Boolean(preview));
    this._open();
  }

  /** Open, and be the picture at `url`; at once if it was open before this page came. */
  hatch(url, alt, { width, height, atOnce }) {
    if (this._shown.hatched) return;
    this._shown.hatched = true;
    const picture = el("img", { className: "avatar", alt, width, height, decoding: "async" });
    const show = (how) => () => {
      this.element.classList.add(how);
      this.element.removeAttribute("aria-hidden");
      this.element.append(picture); // not before: what stands for it meanwhile would be laid out, and then move
    };
    picture.addEventListener("load", show(atOnce ? "hatched-before" : "hatched"), { once: true });
    picture.addEventListener("error", show("no-picture"), { once: true });
    picture.src = url;
  }

  /** Give back what the page holds for it. */
  discard() {
    if (this._previewUrl) URL.revokeObjectURL(this._previewUrl);
    this._previewUrl = null;
  }

  _open() {
    const crack = this._shown.crack ?? 0;
    const share = this._shown.preview ? 0.8 + crack / 100 : Math.max(0, (crack - OPENS_AT) / (100 - OPENS_AT));
    if (share === this._shown.share) return;
    this._shown.share = share;
    this._egg.drawing.style.setProperty("--lift", `${(-share * GAP).toFixed(1)}px`);
    this._egg.drawing.style.setProperty("--tilt", `${(share * 4).toFixed(1)}deg`);
    this._egg.part(share > 0);
    this.element.classList.toggle("ajar", share > 0.25);
  }
}

function asBlob(preview) {
  const bytes =
    typeof preview.data === "string" ? Uint8Array.from(atob(preview.data), (c) => c.charCodeAt(0)) : preview.data;
  return new Blob([bytes], { type: preview.mime });
}
