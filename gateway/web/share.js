// Links for watching one session, made and copied here.

import { el, setText } from "./dom.js";
import { post } from "./rest.js";

const SAID_MS = 2500;

/** A button that copies a link to the session which `session()` (a promise) names. */
export function shareButton(session) {
  const words = el("span", { "aria-live": "polite" }, "Share");
  const button = el(
    "button",
    { type: "button", className: "quiet", title: "Copy a link for watching, and only that", onclick: share },
    words,
  );
  return button;

  async function share() {
    button.disabled = true;
    try {
      const { url } = await post(`/v1/hatches/${encodeURIComponent(await session())}/links`);
      await copy(new URL(url, location.href).href);
      setText(words, "Link copied");
    } catch (error) {
      setText(words, error.code ? error.message : "No link");
    }
    button.disabled = false;
    setTimeout(() => setText(words, "Share"), SAID_MS);
  }
}

/** The watch token of this page's address, or null. */
export function watchToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("watch");
  return token || null;
}

/** The session that a watch token is for: what stands before its first colon. */
export const sessionOf = (token) => token.split(":", 1)[0];

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    window.prompt("The link:", text); // plain http elsewhere than on this machine has no clipboard
  }
}
