// Logging in: a token, once, for a cookie that this page cannot read.

import { el, setText } from "./dom.js";
import { post } from "./rest.js";

/** Ask for a token until one is good; resolves when the cookie is set. */
export function logIn() {
  return new Promise((resolve) => {
    const input = el("input", {
      id: "token",
      type: "password",
      autocomplete: "current-password",
      required: true,
      spellcheck: false,
      "aria-describedby": "token-help",
    });
    const complaint = el("p", { className: "complaint", role: "alert" });
    const form = el(
      "form",
      { method: "dialog", onsubmit: submit },
      el("h2", {}, "Who is there?"),
      el(
        "p",
        { id: "token-help" },
        "This gateway lets in those who have a token. ",
        el("code", {}, "hatchery token NAME"),
        " makes one.",
      ),
      el("label", { htmlFor: "token" }, "Token"),
      input,
      complaint,
      el("button", { className: "primary", type: "submit" }, "Come in"),
    );
    const dialog = el(
      "dialog",
      { className: "login", "aria-label": "Log in", oncancel: (event) => event.preventDefault() },
      form,
    );
    document.body.append(dialog);
    dialog.showModal();

    async function submit(event) {
      event.preventDefault();
      setText(complaint, "");
      try {
        await post("/v1/login", {}, { Authorization: `Bearer ${input.value.trim()}` });
      } catch (error) {
        setText(complaint, error.status === 401 ? "This token is not known here." : error.message);
        input.select();
        return;
      }
      dialog.remove();
      resolve();
    }
  });
}
