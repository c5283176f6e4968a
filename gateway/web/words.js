// What the page says about a hatch, in words; pure.

const WORKERS = {
  exited: "worker gone",
  idle: "worker idle, model kept",
  stuck: "worker stuck, its place is closed off",
  none: "no worker was needed",
};
export const ASKED = "asked on the page"; // the reason that the page gives for a stop
export const RUNNING = ["queued", "writing", "waiting", "drawing", "cancelling"];

export const isRunning = (view) => RUNNING.includes(view.state);

/** What is happening, in the gateway's words where the facts below do not say the same. */
export function stageOf({ state, stage, message, queuePosition }) {
  if (state === "cancelling") return "Stopping";
  if (stage === "steps") return "Drawing";
  if (queuePosition != null) return state === "queued" ? "Waiting for the writer" : "Waiting for the painter";
  return message || "Getting ready";
}

/** The facts under the bar: queue place, step n/N, seconds a step, time left. */
export function factsOf(view) {
  const facts = [];
  if (view.queuePosition != null)
    facts.push(view.queuePosition === 1 ? "next in line" : `${ordinal(view.queuePosition)} in line`);
  if (view.step != null && view.steps != null) facts.push(`step ${view.step} of ${view.steps}`);
  if (view.stepS != null) facts.push(`${seconds(view.stepS)} a step`);
  if (view.etaS != null) facts.push(`${range(view.etaS)} left`);
  return facts;
}

/** How a hatch ended, in a headline. */
export function outcomeOf({ end, persona }) {
  const { outcome, receipt } = end;
  if (outcome === "done") return `${persona.name} has hatched`;
  if (outcome === "failed") return "It did not hatch";
  return receipt.cancel_latency_ms == null ? "Stopped" : `Stopped in ${duration(receipt.cancel_latency_ms)}`;
}

/** What a hatch's receipt proves, in one line. */
export function receiptOf({ receipt, outcome }) {
  if (outcome === "cancelled")
    return [WORKERS[receipt.worker], receipt.llm === "closed" ? "LLM closed" : "LLM was not asked"].join(", ");
  const parts = [`${outcome === "done" ? "" : "ended after "}${duration(receipt.total_ms)}`];
  if (receipt.writing_ms > 0) parts.push(`${duration(receipt.writing_ms)} writing`);
  if (receipt.drawing_ms > 0) parts.push(`${duration(receipt.drawing_ms)} drawing`);
  if (receipt.steps_done > 0) parts.push(`${receipt.steps_done} ${receipt.steps_done === 1 ? "step" : "steps"}`);
  return `${parts.shift()}${parts.length ? ": " : ""}${parts.join(", ")}`;
}

/** Why a hatch ended as it did, where that is not plain: what failed, or who else than this page stopped it. */
export function whyOf({ end, reason }) {
  if (end.error) return end.error.message;
  return end.outcome === "cancelled" && reason && reason !== ASKED ? `Why: ${reason}.` : "";
}

/** A range of seconds as people say it. */
export function range([likely, late]) {
  const unit = late >= 90 ? ["min", 60] : ["s", 1];
  const [from, to] = [likely, late].map((value) => Math.max(unit[1] === 1 ? 1 : 0.5, value / unit[1]));
  const [a, b] = [from, to].map((value) =>
    value < 10 && unit[1] === 60 ? trim(value.toFixed(1)) : String(Math.round(value)),
  );
  return a === b ? `about ${a} ${unit[0]}` : `${a}–${b} ${unit[0]}`;
}

/** Milliseconds as people say them. */
export function duration(ms) {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 90_000) return seconds(ms / 1000);
  return `${trim((ms / 60_000).toFixed(1))} min`;
}

/** How long ago, roughly. */
export function ago(atMs, nowMs) {
  const minutes = Math.max(0, Math.round((nowMs - atMs) / 60_000));
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.round(minutes / 60)} h ago`;
  return `${Math.round(minutes / 1440)} days ago`;
}

/** At most `length` characters, with an ellipsis, cut between words where that is possible. */
export function shorten(text, length) {
  const characters = [...text];
  if (characters.length <= length) return text;
  const cut = characters.slice(0, length - 1).join("");
  const space = cut.lastIndexOf(" ");
  return `${space > length / 2 ? cut.slice(0, space) : cut}…`;
}

/** A file name for an agent of this name. */
export const fileName = (name, ending) =>
  `${
    name
      .toLowerCase()
      .replace(/[^\p{L}\p{N}]+/gu, "-")
      .replace(/^-|-$/g, "") || "agent"
  }${ending}`;

const seconds = (value) => `${trim(value < 10 ? value.toFixed(value < 1 ? 2 : 1) : value.toFixed(0))} s`;
const trim = (number) => (number.includes(".") ? number.replace(/\.?0+$/, "") : number);
const ordinal = (n) => `${n}${n % 100 > 10 && n % 100 < 14 ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[n % 10] ?? "th")}`;
