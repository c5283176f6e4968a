/** The fold of one session's messages into what there is to show of it; no I/O. */

const THOUGHTS = 4_000; // characters of `thinking` that are kept

/** One session as it stands: the fold of its messages. `revision` rises with each of them. */
export class View {
  revision = 0;
  session = null;
  epoch = 0; // until the first snapshot
  seq = 0;
  offset = 0; // code points of `text` in this epoch
  state = "queued";
  reason = null; // of the latest `state`; an end leaves it, as the reason of a cancel
  attempt = 1;
  prompt = "";
  percent = 0;
  stage = "queued";
  basis = "indeterminate";
  message = "";
  step = null;
  steps = null;
  stepS = null;
  etaS = null; // [p50, p90]
  queuePosition = null;
  persona = {}; // grows character by character
  personaComplete = false;
  thinking = "";
  preview = null; // `data` is base64, or a Uint8Array with a MessagePack codec
  artifacts = [];
  end = null;
  agent = null;
  #progress;

  get cursor() {
    return { epoch: this.epoch, seq: this.seq, offset: this.offset };
  }

  /** Fold one message; false, and nothing taken, if something before it is missing. */
  take(message) {
    switch (message.type) {
      case "snapshot":
        this.#replace(message);
        break;
      case "text":
        if (message.offset !== this.offset) return false;
        extend(this.persona, message.path, message.delta);
        this.offset += codePoints(message.delta);
        break;
      case "thinking":
        this.thinking = (this.thinking + message.delta).slice(-THOUGHTS);
        break;
      case "progress":
        this.#advance(message);
        break;
      case "preview":
        this.preview = message;
        break;
      case "state":
      case "persona":
      case "artifact":
      case "end":
        if (message.seq !== this.seq + 1) return false;
        this.seq = message.seq;
        this.#settle(message);
    }
    this.revision += 1;
    return true;
  }

  /** A message that stands for all that has been folded. */
  snapshot() {
    const { session, epoch, seq, offset, state, attempt, prompt } = this;
    const known = { type: "snapshot", session, epoch, seq, offset, state, attempt, prompt };
    const { preview, end, reason } = this;
    const rest = { progress: this.#progress, preview: preview ?? undefined, end: end ?? undefined };
    const grown = { persona: structuredClone(this.persona), artifacts: [...this.artifacts] };
    return { ...known, ...grown, ...rest, reason: reason ?? undefined };
  }

  #replace(snapshot) {
    if (snapshot.epoch !== this.epoch) this.thinking = "";
    const { session, epoch, seq, offset, state, attempt, prompt } = snapshot;
    Object.assign(this, { session, epoch, seq, offset, state, attempt, prompt });
    this.persona = structuredClone(snapshot.persona);
    this.artifacts = [...snapshot.artifacts];
    this.preview = snapshot.preview ?? null;
    this.#advance(snapshot.progress ?? { percent: 0, stage: "queued", basis: "indeterminate", message: "" });
    this.personaComplete = this.percent >= 33 || ["waiting", "drawing", "done"].includes(state);
    this.reason = snapshot.reason ?? null;
    this.end = this.agent = null;
    if (snapshot.end) this.#finish(snapshot.end);
  }

  #advance(progress) {
    this.#progress = progress;
    const { percent, stage, basis, message } = progress;
    const { step = null, steps = null, step_s: stepS = null, eta_s: etaS = null } = progress;
    Object.assign(this, { percent, stage, basis, message, step, steps, stepS, etaS });
    this.queuePosition = progress.queue_position ?? null;
  }

  #settle(message) {
    if (message.type === "state") {
      this.state = message.state;
      this.reason = message.reason ?? null;
    } else if (message.type === "persona") {
      this.persona = structuredClone(message.persona);
      this.personaComplete = true;
    } else if (message.type === "artifact") {
      this.artifacts = [...this.artifacts, message];
    } else {
      this.#finish(message);
    }
  }

  #finish(end) {
    this.state = end.outcome;
    this.end = end;
    this.agent = end.agent ?? null;
    this.preview = null;
    if (end.outcome === "done") this.percent = 100;
  }
}

/** Let the string at a JSON Pointer (RFC 6901) grow; what is missing on the way there is made. */
function extend(root, pointer, delta) {
  const names = pointer.slice(1).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = names.pop();
  let node = root;
  names.forEach((name, depth) => {
    if (!Object.hasOwn(node, name)) node[name] = /^\d+$/.test(names[depth + 1] ?? last) ? [] : {};
    node = node[name];
  });
  node[last] = (Object.hasOwn(node, last) ? node[last] : "") + delta;
}

function codePoints(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}
