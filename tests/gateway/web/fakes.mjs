/** A WebSocket that a test answers by hand, and messages as a gateway says them. */

export class FakeSocket {
  static made = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols, sent: [], closedWith: null });
    FakeSocket.made.push(this);
  }

  static get last() {
    return FakeSocket.made.at(-1);
  }

  send(data) {
    this.sent.push(JSON.parse(data));
  }

  close(code) {
    this.closedWith = code ?? 1005;
  }

  /** The gateway says these in one frame. */
  say(...messages) {
    this.onmessage({ data: JSON.stringify(messages) });
  }

  /** The gateway, or the network, ends the connection. */
  end(code, reason = "") {
    this.onclose({ code, reason });
  }

  greet(resumed = []) {
    this.onopen();
    this.say({ type: "welcome", id: "hello", heartbeat_ms: 20_000, limits: { message_bytes: 300 }, resumed });
  }

  /** What the client sent last of a type. */
  asked(type) {
    return this.sent.findLast((message) => message.type === type);
  }
}

export function snapshot(session, fields = {}) {
  const empty = { epoch: 1, seq: 0, offset: 0, state: "writing", attempt: 1, prompt: "p", persona: {}, artifacts: [] };
  return { type: "snapshot", session, ...empty, ...fields };
}

export function end(session, seq, outcome = "done") {
  return { type: "end", session, seq, outcome, receipt: {}, agent: outcome === "done" ? "a1" : undefined };
}
