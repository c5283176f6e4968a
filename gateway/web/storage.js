// What this browser remembers: settings, recent prompts, and which hatches this tab shows.

const SETTINGS = "hatchery.settings";
const HISTORY = "hatchery.prompts";
const SHOWN = "hatchery.shown";
const MAX_HISTORY = 20;
const MAX_SHOWN = 50;
const PICTURE = { size: "", steps: null, seed: null, model: "", loras: [] };
const DEFAULTS = { ...PICTURE, previews: true, sound: false, notify: false };

/** The settings; unknown and damaged ones fall back to the defaults. */
export const loadSettings = () => ({ ...DEFAULTS, ...read(localStorage, SETTINGS, {}) });
export const saveSettings = (settings) => write(localStorage, SETTINGS, settings);

/** Recent prompts, the latest first. */
export const loadHistory = () => read(localStorage, HISTORY, []);

/** Put a prompt on top of the recent ones. */
export function remember(prompt) {
  write(localStorage, HISTORY, [prompt, ...loadHistory().filter((other) => other !== prompt)].slice(0, MAX_HISTORY));
}

/** Sessions that this tab shows, so that a reload shows them again, ended ones too. */
export const loadShown = () => read(sessionStorage, SHOWN, []);
export const saveShown = (sessions) => write(sessionStorage, SHOWN, sessions.slice(0, MAX_SHOWN));

function read(storage, key, otherwise) {
  try {
    const value = JSON.parse(storage.getItem(key));
    return value !== null && Array.isArray(value) === Array.isArray(otherwise) && typeof value === "object"
      ? value
      : otherwise;
  } catch {
    return otherwise; // forbidden or damaged storage costs memory, nothing else
  }
}

function write(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    return; // full or forbidden
  }
}
