// A picture for the avatar to begin from: chosen or dropped, kept by the gateway, shown small until it is taken away.

import { byId } from "./dom.js";
import { upload } from "./rest.js";

const KINDS = ["image/png", "image/jpeg", "image/webp"];

export const isPicture = (file) => KINDS.includes(file.type);

/** The chip over the options; `complain(text)` is told what is wrong with a picture. */
export class InputPicture {
  constructor({ complain }) {
    this._complain = complain;
    this._chip = byId("input-chip");
    this._thumbnail = byId("input-thumbnail");
    this._sent = null; // a promise of the upload's id, or of null if it was refused
    const file = byId("option-input");
    byId("input-button").addEventListener("click", () => file.click());
    byId("input-remove").addEventListener("click", () => {
      this.remove();
      byId("prompt").focus();
    });
    file.addEventListener("change", () => {
      if (file.files[0]) this.take(file.files[0]);
      file.value = ""; // so that the same one can be chosen again
    });
  }

  /** The id for `image.input`, once the gateway has the picture; null if there is none. */
  id() {
    return this._sent ?? Promise.resolve(null);
  }

  /** Send a file to the gateway, in place of what was there. */
  take(file) {
    this.remove();
    this._complain("");
    this._thumbnail.src = URL.createObjectURL(file);
    this._chip.hidden = false;
    const sent = upload("/v1/uploads", file).then(
      ({ id }) => id,
      (error) => {
        if (this._sent === sent) this.remove();
        this._complain(error.message);
        return null;
      },
    );
    this._sent = sent;
  }

  remove() {
    this._sent = null;
    this._chip.hidden = true;
    URL.revokeObjectURL(this._thumbnail.src);
    this._thumbnail.removeAttribute("src");
  }
}
