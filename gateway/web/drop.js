// Cards and pictures dragged onto the page, or pasted into it.

import { byId } from "./dom.js";
import { readCard } from "./card.js";

/** Call `take` with what a dropped or pasted card says of its making, or `complain` with why it says nothing. */
export function acceptCards({ take, complain }) {
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
      take(await readCard(file));
      complain("");
    } catch (error) {
      complain(error.message);
    }
  }
}
