// One agent, opened: its picture, all of its persona, its files, and ways to hatch it again.

import { freshSeed } from "./composer.js";
import { el, setText } from "./dom.js";
import { PersonaSheet } from "./persona.js";
import { remove } from "./rest.js";
import { ago, fileName } from "./words.js";

/** Show an agent in a dialog; `does` holds `hatch(request)`, `gone(agent)` and `closed(agent)`. */
export function openAgent(item, does) {
  const label = item.persona.name;
  const dialog = el("dialog", { className: "agent", "aria-label": label, onclose, onclick });
  const shut = () => dialog.close();
  dialog.append(
    el("button", { type: "button", className: "dismiss", "aria-label": "Close", onclick: shut }, "×"),
    plate(item, { ...does, shut }),
    sheet(item),
  );
  document.body.append(dialog);
  dialog.showModal();

  function onclose() {
    dialog.remove();
    does.closed(item.agent);
  }

  function onclick(event) {
    if (event.target === dialog) dialog.close(); // beside it
  }
}

function plate(item, { hatch, gone, shut }) {
  const { persona, prompt, seed } = item;
  const steps = item.steps > 0 ? { steps: item.steps } : {};
  const complaint = el("p", { className: "complaint", role: "alert" });
  const again = (text, request) => button(text, () => (shut(), hatch(request())));
  const same = seed == null ? [] : [again(`Same seed, ${seed}`, () => ({ prompt, image: { seed, ...steps } }))];
  const file = (text, href, ending) => el("a", { href, download: fileName(persona.name, ending) }, text);
  const portrait = `Portrait of ${persona.name}, ${persona.species}`;
  return el(
    "div",
    { className: "agent-plate" },
    el("img", { src: item.avatar_url, alt: portrait, width: 640, height: 640 }),
    group(
      "Hatch again",
      ...same,
      again("New seed", () => ({ prompt, image: { seed: freshSeed() } })),
      again("New portrait only", () => ({ prompt, persona, image: { seed: freshSeed() } })),
    ),
    group(
      "Keep",
      file("Picture", item.avatar_url, ".png"),
      file("Card as PNG", item.card_png_url, ".card.png"),
      file("Card as JSON", item.card_json_url, ".card.json"),
    ),
    group(
      "Let go",
      deleteButton(item.agent, () => (shut(), gone(item.agent)), complaint),
    ),
    complaint,
  );
}

function sheet({ persona, prompt, engines, writer, painter, created_at_ms }) {
  const fields = new PersonaSheet();
  fields.show(persona, false);
  const made = `From “${prompt}”, ${ago(created_at_ms, Date.now())}`;
  return el(
    "div",
    { className: "agent-sheet", tabIndex: 0, role: "group", "aria-label": "Persona" },
    fields.element,
    el(
      "p",
      { className: "made" },
      `${made}; written by ${by(writer, engines.llm)}, drawn by ${by(painter, engines.image)}.`,
    ),
  );
}

/** Deletes when it is pressed twice. */
function deleteButton(agent, deleted, complaint) {
  let armed = false;
  const arm = (now) => {
    armed = now;
    setText(made, now ? "Really delete?" : "Delete");
  };
  const made = button("Delete", async () => {
    if (!armed) return arm(true);
    try {
      await remove(`/v1/agents/${encodeURIComponent(agent)}`);
    } catch (error) {
      setText(complaint, error.message);
      return arm(false);
    }
    return deleted();
  });
  made.className = "delete";
  made.addEventListener("blur", () => arm(false));
  return made;
}

function group(title, ...members) {
  return el(
    "div",
    { className: "agent-actions", role: "group", "aria-label": title },
    el("span", { "aria-hidden": "true" }, title),
    ...members,
  );
}

const by = (maker, engine) => (maker?.model ? `${maker.model} (${engine})` : engine);
const button = (text, onclick) => el("button", { type: "button", onclick }, text);
