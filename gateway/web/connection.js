// The state of the connection, and which engines are behind it.

import { byId, el, setText } from "./dom.js";

export const UNAUTHENTICATED = 4501; // the close code
const WORDS = { connecting: "Connecting", open: "Connected", waiting: "Offline", closed: "Closed" };
const REASONS = {
  4501: "This link is no longer valid: ask for a fresh one.",
  4505: "Too many connections are open: close another tab.",
};
const SHOWN_AFTER_MS = 600; // a hitch that is mended at once needs no words
const TICK_MS = 250;

/** Show the client's status from now on; where a login is asked for (`loginShown`), that it is needed shows itself. */
export function showConnection(client, { loginShown }) {
  const box = byId("lost");
  const words = el("span");
  const retry = el("button", { type: "button", className: "quiet", onclick: () => tryNow(client) }, "Try now");
  box.replaceChildren(words, retry);
  let lostAt = null;
  const show = () => {
    const { state, code } = client.status;
    byId("link").dataset.state = state;
    document.body.classList.toggle("offline", state !== "open"); // what is shown may be old
    setText(byId("link-text"), WORDS[state]);
    lostAt = state === "open" ? null : (lostAt ?? Date.now());
    const mended = state === "open" || (client.welcome === null && state === "connecting");
    const soon = state !== "closed" && Date.now() - lostAt < SHOWN_AFTER_MS;
    box.hidden = mended || soon || (loginShown && code === UNAUTHENTICATED);
    setText(words, sentence(client.status));
    retry.hidden = state === "connecting";
  };
  client.addEventListener("status", show);
  client.addEventListener("goingaway", () => setText(byId("link-text"), "Gateway restarts"));
  setInterval(show, TICK_MS); // for the countdown
  show();
}

/** Say who writes and who draws; where that is a demo, how its host gets the real thing. */
export function showEngines({ llm, image }, guest) {
  const box = byId("engines");
  if (llm !== "demo" && image !== "demo") {
    box.classList.remove("demo");
    box.replaceChildren(el("span", {}, `Written by ${llm}, drawn by ${image}.`));
    return;
  }
  const toys = [llm === "demo" && "writer", image === "demo" && "painter"].filter(Boolean);
  const words = `${toys.join(" and ")} ${toys.length > 1 ? "are toys" : "is a toy"}. `;
  const cures = [llm === "demo" && "start Ollama or LM Studio", image === "demo" && "install mflux"]
    .filter(Boolean)
    .join(" and ");
  const advice = guest
    ? []
    : [`For the real thing ${cures}; `, el("code", {}, "hatchery engines"), " lists what fits this machine."];
  box.classList.add("demo");
  box.replaceChildren(el("span", {}, el("strong", {}, "Demo engines: "), words, ...advice));
}

function tryNow(client) {
  if (client.status.state === "closed") location.reload();
  else dispatchEvent(new Event("online")); // which the client takes as a hint
}

function sentence({ state, retryAtMs, code, error }) {
  if (state === "closed") return REASONS[code] ?? error?.message ?? "The gateway has closed the connection.";
  if (state !== "waiting") return "Connecting again…";
  const seconds = Math.max(0, Math.ceil((retryAtMs - Date.now()) / 1000));
  return `Connection lost. Trying again ${seconds > 0 ? `in ${seconds} s` : "now"}.`;
}
