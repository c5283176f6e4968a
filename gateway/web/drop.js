// Cards and pictures dragged onto the page, or pasted into it.

import { byId } from "./dom.js";
import { readCard } from "./card.js";

/** Call `take` with what a card says of its making, `begin` with a picture that has none, or `complain` with why not. */
export function acceptCards({ take, begin, complain }) {
  const veil = byId("drop");
  let depth = 0; // enter and leave come for every element on the way
  const show = (change) => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => holdsFiles(event) && show(1));
  addEventListener("dragleave", (event) => holdsFiles(event) && show(-1));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    show(-depth);
    read(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) read(file);
  });

  async function read(file) {
    if (!file) return;
    try {
      const making = await readCard(file);
      complain("");
      if (making) take(making);
      else begin(file);
    } catch (error) {
      complain(error.message);
    }
  }
}
