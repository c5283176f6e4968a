// The keyboard: what each key does, and a dialog that says so.

import { el } from "./dom.js";

const KEYS = [
  ["Ctrl or ⌘ + Enter", "Hatch"],
  ["Esc", "Stop the hatch in focus, or else the newest"],
  ["↑ in an empty box", "Recall earlier prompts"],
  ["/", "Go to the prompt"],
  ["g", "Go to the gallery; arrows walk in it, Enter opens"],
  ["?", "This help"],
];

/** Listen for keys; `does` holds `submit`, `cancel`, `prompt`, `gallery`. */
export function listenForKeys(does) {
  addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented) return;
    const typing = event.target.matches?.("input, textarea, select");
    const modal = document.querySelector("dialog[open]") !== null;
    if (modal) return; // Esc closes it by itself
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) act(event, does.submit);
    else if (event.key === "Escape" && event.target.type !== "search") does.cancel();
    else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "/") act(event, does.prompt);
    else if (event.key === "g") act(event, does.gallery);
    else if (event.key === "?") act(event, showKeys);
  });
}

/** The dialog with all keys. */
export function showKeys() {
  const rows = KEYS.map(([key, meaning]) => el("div", {}, el("dt", {}, key), el("dd", {}, meaning)));
  const dialog = el(
    "dialog",
    {
      className: "keys",
      "aria-label": "Keys",
      onclose: () => dialog.remove(),
      onclick: (event) => event.target === dialog && dialog.close(),
    },
    el("h2", {}, "Keys"),
    el("dl", {}, ...rows),
    el("p", {}, "Drop a character card anywhere on the page to use its prompt and settings, or a picture to begin from."),
    el("button", { type: "button", className: "primary", onclick: () => dialog.close() }, "Good"),
  );
  document.body.append(dialog);
  dialog.showModal();
}

function act(event, does) {
  event.preventDefault();
  does();
}
