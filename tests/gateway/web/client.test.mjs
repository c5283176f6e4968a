/** The client against a socket that is answered by hand: what it sends, when it comes again, and when it does not. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { connect, delayMs } from "../../../gateway/web/client.js";
import { end, FakeSocket, snapshot } from "./fakes.mjs";

const accept = (session, id) => ({ type: "accepted", id, session, epoch: 1, existing: false, state: "queued" });

function open(t, options = {}) {
  const client = connect("http://gateway.test", { WebSocket: FakeSocket, ...options });
  t.after(() => client.close());
  return client;
}

/** A client with one hatch, accepted as `s1` and shown its first snapshot. */
function hatching(t, options = {}, hatchOptions = {}) {
  const client = open(t, options);
  FakeSocket.last.greet();
  const hatch = client.hatch("p", hatchOptions);
  FakeSocket.last.say(accept("s1", FakeSocket.last.asked("start").id), snapshot("s1"));
  return { client, hatch };
}

beforeEach((t) => {
  FakeSocket.made = [];
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
});

test("hello goes first, and what was asked before goes behind the welcome", (t) => {
  const client = open(t, { token: "secret", follow: "mine", client: "test/1" });
  client.hatch("p", { key: "k" });
  const socket = FakeSocket.last;
  assert.deepEqual([socket.url, socket.protocols], ["ws://gateway.test/v1/ws", ["hatch.v1.json"]]);
  socket.onopen();
  assert.deepEqual(socket.sent, [
    { type: "hello", id: "hello", token: "secret", client: "test/1", follow: "mine", resume: [] },
  ]);
  assert.equal(client.status.state, "connecting");
  socket.greet();
  assert.equal(client.status.state, "open");
  const { type, key, hatch, watch } = socket.sent.at(-1);
  assert.deepEqual({ type, key, hatch, watch }, { type: "start", key: "k", hatch: { prompt: "p" }, watch: true });
});

for (const code of [1000, 1001, 1006, 1009, 1012, 1013, 4000, 4001, 4003]) {
  test(`after ${code} it comes again, later each time`, (t) => {
    const client = open(t);
    const waits = [];
    for (let attempt = 1; attempt <= 4; attempt += 1) {
      FakeSocket.last.end(code);
      assert.deepEqual([client.status.state, client.status.attempt, client.status.code], ["waiting", attempt, code]);
      waits.push(client.status.retryAtMs - Date.now());
      const before = FakeSocket.made.length;
      t.mock.timers.tick(Math.floor(waits.at(-1)) - 1);
      assert.equal(FakeSocket.made.length, before);
      t.mock.timers.tick(2);
      assert.equal(FakeSocket.made.length, before + 1);
    }
    waits.forEach((wait, i) => assert.ok(wait >= 250 * 2 ** i && wait <= 500 * 2 ** i, waits));
  });
}

for (const code of [4500, 4501, 4502, 4503, 4504, 4505]) {
  test(`after ${code} it does not, and everything rejects`, async (t) => {
    const { client, hatch } = hatching(t);
    const listed = assert.rejects(client.list(), { name: "HatcheryError", code: "closed" });
    FakeSocket.last.end(code, "why");
    assert.deepEqual([client.status.state, client.status.code], ["closed", code]);
    await listed;
    await assert.rejects(hatch.done, { code: "closed", message: new RegExp(`${code} why`) });
    await assert.rejects(client.hatch("q").accepted, { code: "closed" });
    t.mock.timers.tick(100_000);
    assert.equal(FakeSocket.made.length, 1);
  });
}

test("a wrong token is told by its own error", async (t) => {
  const client = open(t, { token: "wrong" });
  const hatch = client.hatch("p");
  FakeSocket.last.onopen();
  FakeSocket.last.say({ type: "error", id: "hello", code: "unauthenticated", message: "a token", retryable: false });
  FakeSocket.last.end(4501);
  assert.equal(client.status.error.code, "unauthenticated");
  await assert.rejects(hatch.done, { code: "unauthenticated", retryable: false });
});

test("delays grow to half a minute, with chance in them", () => {
  assert.deepEqual([delayMs(1, 0), delayMs(1, 1), delayMs(3, 1), delayMs(50, 0), delayMs(50, 1)], [
    250, 500, 2000, 15_000, 30_000,
  ]);
});

test("going_away says when to come again, once", (t) => {
  const { client } = hatching(t);
  const hints = [];
  client.addEventListener("goingaway", (event) => hints.push(event.detail.deadline_ms));
  FakeSocket.last.say({ type: "going_away", deadline_ms: 9000, reconnect_after_ms: [60_000, 70_000] });
  FakeSocket.last.end(1001);
  const wait = client.status.retryAtMs - Date.now();
  assert.ok(wait >= 60_000 && wait <= 70_000, wait);
  t.mock.timers.tick(70_001);
  FakeSocket.last.end(1006);
  assert.ok(client.status.retryAtMs - Date.now() <= 1000);
  assert.deepEqual(hints, [9000]);
});

test("after a good while the delays begin anew", (t) => {
  const client = open(t);
  for (let i = 0; i < 5; i += 1) {
    FakeSocket.last.end(1006);
    t.mock.timers.tick(60_000);
  }
  FakeSocket.last.greet();
  t.mock.timers.tick(1_000);
  FakeSocket.last.end(1006);
  assert.equal(client.status.attempt, 6);
  t.mock.timers.tick(60_000);
  FakeSocket.last.greet();
  t.mock.timers.tick(10_001);
  FakeSocket.last.end(1006);
  assert.equal(client.status.attempt, 1);
});

test("cursors are resumed, unanswered requests repeated, and what is gone rejects", async (t) => {
  const { client, hatch } = hatching(t);
  FakeSocket.last.say(
    { type: "text", session: "s1", offset: 0, path: "/name", delta: "Wr🦉" },
    { type: "state", session: "s1", seq: 1, state: "writing" },
  );
  const other = client.hatch("q", { key: "k2" });
  const cancelled = hatch.cancel("enough");
  const fast = client.watch("s2", { maxHz: 5, previews: true });
  FakeSocket.last.say(snapshot("s2", { id: FakeSocket.last.asked("watch").id, seq: 7 }));
  FakeSocket.last.end(1006);
  t.mock.timers.tick(1_000);
  FakeSocket.last.onopen();
  assert.deepEqual(FakeSocket.last.sent[0].resume, [{ session: "s1", epoch: 1, seq: 1, offset: 3 }]);
  FakeSocket.last.greet([{ session: "s1", result: "gone" }]);
  await assert.rejects(hatch.done, { code: "gone" });
  assert.equal(FakeSocket.last.asked("start").key, "k2");
  assert.deepEqual({ ...FakeSocket.last.asked("watch"), id: 0 }, {
    type: "watch",
    id: 0,
    session: "s2",
    from: { epoch: 1, seq: 7, offset: 0 },
    max_hz: 5,
    previews: true,
  });
  FakeSocket.last.say({ type: "ok", id: FakeSocket.last.asked("cancel").id, session: "s1", state: "cancelling" });
  assert.equal((await cancelled).state, "cancelling");
  FakeSocket.last.say(accept("s3", FakeSocket.last.asked("start").id), snapshot("s3"), end("s3", 1));
  assert.equal((await other.done).outcome, "done");
  assert.equal(fast.view.seq, 7);
});

test("before it is accepted a hatch is cancelled by its key", async (t) => {
  const client = open(t);
  const hatch = client.hatch("p", { key: "k" });
  const answer = hatch.cancel();
  FakeSocket.last.greet();
  const { id, key, session } = FakeSocket.last.asked("cancel");
  assert.deepEqual([key, session], ["k", undefined]);
  FakeSocket.last.say({ type: "ok", id });
  await answer;
});

for (const [what, message] of [
  ["text", { type: "text", session: "s1", offset: 5, path: "/name", delta: "en" }],
  ["a reliable message", { type: "state", session: "s1", seq: 2, state: "waiting" }],
]) {
  test(`a hole before ${what} is mended by a snapshot, and nothing is folded until then`, (t) => {
    const { hatch } = hatching(t);
    FakeSocket.last.say(message);
    const { id, from } = FakeSocket.last.asked("watch");
    assert.deepEqual(from, { epoch: 1, seq: 0, offset: 0 });
    FakeSocket.last.say({ type: "text", session: "s1", offset: 0, path: "/name", delta: "x" });
    assert.deepEqual(hatch.view.persona, {});
    FakeSocket.last.say(snapshot("s1", { id, seq: 2, offset: 7, persona: { name: "Wrenwren" } }));
    FakeSocket.last.say({ type: "text", session: "s1", offset: 7, path: "/traits/0", delta: "shy" });
    assert.deepEqual(hatch.view.persona, { name: "Wrenwren", traits: ["shy"] });
    assert.equal(hatch.view.offset, 10);
  });
}

test("a start that is refused rejects with all that was said", async (t) => {
  const client = open(t);
  FakeSocket.last.greet();
  const hatch = client.hatch("p");
  const refusal = { code: "quota_exceeded", message: "enough", retryable: true, retry_after_ms: 9, field: "hatch" };
  FakeSocket.last.say({ type: "error", id: FakeSocket.last.asked("start").id, ...refusal });
  const { retry_after_ms: retryAfterMs, ...rest } = refusal;
  await assert.rejects(hatch.done, { name: "HatcheryError", retryAfterMs, ...rest });
  await assert.rejects(hatch.accepted, { code: "quota_exceeded" });
  await assert.rejects(hatch[Symbol.asyncIterator]().next(), { code: "quota_exceeded" });
});

test("what is longer than the gateway takes is refused here", async (t) => {
  const client = open(t);
  FakeSocket.last.greet();
  await assert.rejects(client.hatch("ü".repeat(200)).done, { code: "too_large" });
  assert.equal(FakeSocket.last.asked("start"), undefined);
});

test("followed sessions are announced, and one that is not followed is not", (t) => {
  const client = open(t, { follow: "mine" });
  const found = [];
  client.addEventListener("session", (event) => found.push(event.detail));
  FakeSocket.last.greet();
  FakeSocket.last.say(snapshot("s9", { persona: { name: "Io" } }), { type: "state", session: "s9", seq: 1, state: "x" });
  assert.deepEqual(found.map((hatch) => [hatch.session, hatch.view.persona.name, hatch.view.seq]), [["s9", "Io", 1]]);
});

test("two that look at one session are told the same, and the last to leave detaches", (t) => {
  const { client, hatch } = hatching(t);
  const second = client.watch("s1");
  FakeSocket.last.say(snapshot("s1", { id: FakeSocket.last.asked("watch").id, seq: 3 }));
  assert.deepEqual([hatch.view.seq, second.view.seq], [3, 3]);
  second.unwatch();
  assert.equal(FakeSocket.last.asked("unwatch"), undefined);
  hatch.unwatch();
  assert.equal(FakeSocket.last.asked("unwatch").session, "s1");
});

test("one who wakes up asks for a sign of life, and comes again without it", (t) => {
  const client = open(t);
  FakeSocket.last.greet();
  for (let i = 0; i < 3; i += 1) t.mock.timers.tick(5_000);
  assert.equal(FakeSocket.last.asked("ping"), undefined);
  t.mock.timers.setTime(Date.now() + 3_600_000);
  t.mock.timers.tick(5_000); // the timers go on when the machine is awake again
  assert.equal(FakeSocket.last.asked("ping").id, "ping");
  const first = FakeSocket.last;
  FakeSocket.last.say({ type: "pong", id: "ping" });
  t.mock.timers.tick(5_000);
  assert.equal(client.status.state, "open");
  t.mock.timers.setTime(Date.now() + 3_600_000);
  for (let i = 0; i < 2; i += 1) t.mock.timers.tick(5_000);
  assert.deepEqual([client.status.state, client.status.code], ["waiting", 4001]);
  assert.notEqual(first.closedWith, null);
});

test("silence longer than the heartbeat is looked into", (t) => {
  open(t);
  FakeSocket.last.greet();
  for (let i = 0; i < 4; i += 1) t.mock.timers.tick(5_000);
  assert.equal(FakeSocket.last.asked("ping"), undefined);
  t.mock.timers.tick(5_000);
  assert.equal(FakeSocket.last.asked("ping").type, "ping");
});

test("a network that is back, or a page that is shown again, is tried at once", (t) => {
  const listeners = {};
  globalThis.addEventListener = (type, listener) => (listeners[type] = listener);
  globalThis.document = { visibilityState: "hidden", addEventListener: globalThis.addEventListener };
  t.after(() => (delete globalThis.addEventListener, delete globalThis.document));
  const client = open(t);
  for (const type of ["online", "pageshow", "visibilitychange"]) {
    FakeSocket.last.end(1006);
    const before = FakeSocket.made.length;
    document.visibilityState = "hidden";
    listeners[type]();
    assert.equal(FakeSocket.made.length, before);
    document.visibilityState = "visible";
    listeners[type]();
    assert.equal(FakeSocket.made.length, before + 1);
    assert.equal(client.status.state, "connecting");
  }
});

test("a gateway that never says welcome is left", (t) => {
  const client = open(t);
  FakeSocket.last.onopen();
  t.mock.timers.tick(15_000);
  assert.equal(client.status.state, "waiting");
});

test("changes are told once a frame and at the end, messages each", (t) => {
  const { hatch } = hatching(t);
  const heard = { change: 0, message: 0 };
  for (const type of Object.keys(heard)) hatch.addEventListener(type, () => (heard[type] += 1));
  const progress = { type: "progress", session: "s1", percent: 5, stage: "persona", basis: "estimated", message: "m" };
  FakeSocket.last.say(progress, progress, progress);
  t.mock.timers.tick(16);
  assert.deepEqual([heard, hatch.view.revision], [{ change: 1, message: 3 }, 4]);
  FakeSocket.last.say(progress, end("s1", 1));
  assert.deepEqual(heard, { change: 2, message: 5 });
  t.mock.timers.tick(1_000);
  assert.equal(heard.change, 2);
});

test("who falls far behind gets a snapshot in place of what waited", async (t) => {
  const { hatch } = hatching(t);
  const reader = hatch[Symbol.asyncIterator]();
  await reader.next();
  for (let i = 0; i < 1500; i += 1) {
    FakeSocket.last.say({ type: "text", session: "s1", offset: i, path: "/name", delta: "x" });
  }
  FakeSocket.last.say(end("s1", 1));
  const rest = [];
  for await (const message of { [Symbol.asyncIterator]: () => reader }) rest.push(message);
  assert.ok(rest.length <= 1000, rest.length);
  assert.deepEqual([rest[0].type, rest[0].offset], ["snapshot", rest[0].persona.name.length]);
  const late = rest.slice(1).filter(({ type }) => type === "text");
  assert.equal(rest[0].offset + late.length, 1500);
  assert.equal(rest.at(-1).type, "end");
});
