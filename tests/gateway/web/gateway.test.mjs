/** The client on a real gateway, behind a proxy that is cut and a process that is killed on request (CONTROL). */

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../../../gateway/web/client.js";
import { View } from "../../../gateway/web/view.js";
import * as msgpack from "./msgpack.mjs";

const { GATEWAY, CONTROL, LOCKED, TOKEN } = process.env;

function open(t, options) {
  const client = connect(GATEWAY, options);
  t.after(() => client.close());
  return client;
}

const control = (path) => fetch(`${CONTROL}/${path}`, { method: "POST" });
const kept = async (session) => (await fetch(`${GATEWAY}/v1/hatches/${session}`)).json();
const until = (target, type, matches = () => true) =>
  new Promise((resolve) => target.addEventListener(type, (event) => matches(event.detail) && resolve(event.detail)));

/** Read a hatch to its end, with a disturbance at its first text; what was read must amount to what is kept. */
async function readToTheEnd(hatch, disturb = async () => {}) {
  const folded = new View();
  const heard = [];
  for await (const message of hatch) {
    assert.ok(folded.take(message), JSON.stringify(message));
    heard.push(message);
    if (message.type === "text" && heard.filter(({ type }) => type === "text").length === 1) await disturb();
  }
  const end = await hatch.done;
  const { persona } = await kept(hatch.session);
  assert.deepEqual(hatch.view.persona, persona);
  assert.deepEqual(folded.persona, persona);
  assert.deepEqual([hatch.view.state, hatch.view.percent, hatch.view.personaComplete], ["done", 100, true]);
  assert.equal(end.outcome, "done");
  assert.equal(hatch.view.agent, end.agent);
  return heard;
}

for (const [wire, codec] of [["JSON", undefined], ["MessagePack", msgpack]]) {
  test(`a hatch over ${wire}, character by character`, async (t) => {
    const client = open(t, { codec });
    const hatch = client.hatch("an owl", { maxHz: 50, previews: true });
    const names = [];
    hatch.addEventListener("message", () => names.push(hatch.view.persona.name));
    const heard = await readToTheEnd(hatch);
    assert.equal(await hatch.accepted, hatch.session);
    assert.ok(heard.some(({ type }) => type === "text"));
    assert.ok(names.every((name) => hatch.view.persona.name.startsWith(name ?? "")));
    const [avatar] = hatch.view.artifacts;
    const picture = new Uint8Array(await (await fetch(new URL(avatar.url, GATEWAY))).arrayBuffer());
    assert.deepEqual([picture.length, ...picture.slice(1, 4)], [avatar.bytes, ...new TextEncoder().encode("PNG")]);
  });
}

test("a cancel before it is accepted, and one in the middle", async (t) => {
  const client = open(t);
  const early = client.hatch("an owl");
  await early.cancel("at once");
  assert.equal((await early.done).outcome, "cancelled");
  const late = client.hatch("a fox");
  await until(late, "message", ({ type }) => type === "text");
  assert.equal((await late.cancel("enough")).session, late.session);
  assert.equal((await late.done).receipt.llm, "closed");
  assert.equal((await late.cancel()).state, "cancelled");
});

test("a cut connection goes on where it was", async (t) => {
  const client = open(t);
  const heard = await readToTheEnd(client.hatch("an owl"), () => control("cut"));
  assert.deepEqual(heard.filter(({ type }) => type === "snapshot").map(({ epoch }) => epoch), [1, 1]);
});

test("a start that is lost with its connection is not lost, and begins once", async (t) => {
  const client = open(t);
  await until(client, "welcome");
  const before = (await client.list()).items.length;
  const hatch = client.hatch("an owl that was nearly lost");
  await control("cut");
  await readToTheEnd(hatch);
  assert.equal((await client.list()).items.length, before + 1);
});

test("a killed gateway that comes back goes on in a new epoch", async (t) => {
  const client = open(t);
  const hatch = client.hatch("an owl");
  await readToTheEnd(hatch, () => control("kill"));
  assert.equal(hatch.view.epoch, 2);
});

test("a gateway that stops is obeyed", async (t) => {
  const client = open(t);
  await until(client, "welcome");
  const said = until(client, "goingaway");
  const waiting = until(client, "status", ({ state }) => state === "waiting");
  const openAgain = until(client, "welcome");
  await control("stop");
  const [least, most] = (await said).reconnect_after_ms;
  const { code, retryAtMs } = await waiting;
  assert.equal(code, 1001);
  await openAgain;
  assert.ok(retryAtMs - Date.now() <= 0 && most >= least);
  assert.equal((await client.hatch("an owl").done).outcome, "done");
});

test("what others start is followed, and can be listed and watched", async (t) => {
  const follower = open(t, { follow: "mine" });
  await until(follower, "welcome");
  const found = until(follower, "session");
  const hatch = open(t).hatch("an owl");
  const followed = await found;
  assert.equal(followed.session, await hatch.accepted);
  const watched = follower.watch(hatch.session, { maxHz: 5 });
  await Promise.all([hatch.done, followed.done, watched.done]);
  assert.deepEqual(followed.view.persona, hatch.view.persona);
  assert.deepEqual(watched.view.persona, hatch.view.persona);
  const { items } = await follower.list({ states: ["done"], limit: 1 });
  assert.deepEqual([items[0].session, items[0].agent], [hatch.session, hatch.view.agent]);
  const late = follower.watch(hatch.session);
  assert.equal((await late.done).outcome, "done");
});

test("refusals reject", async (t) => {
  const client = open(t);
  await assert.rejects(client.hatch(" ").done, { name: "HatcheryError", code: "invalid", field: "hatch.prompt" });
  await assert.rejects(client.watch("0".repeat(20)).done, { code: "not_found", retryable: false });
  await assert.rejects(client.list({ limit: -1 }), { code: "bad_message" });
});

test("a token opens the door, and a wrong one closes it for good", async (t) => {
  const client = connect(LOCKED, { token: TOKEN });
  t.after(() => client.close());
  assert.equal((await client.hatch("an owl").done).outcome, "done");
  const stranger = connect(LOCKED, { token: "wrong" });
  await until(stranger, "status", ({ state }) => state === "closed");
  assert.deepEqual([stranger.status.code, stranger.status.error.code], [4501, "unauthenticated"]);
  await assert.rejects(stranger.list(), { code: "unauthenticated" });
});
