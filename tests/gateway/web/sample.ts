/** A frontend in TypeScript that uses all there is of the client; it is compiled, and it runs, on the gateway GATEWAY. */

import { Client, connect, delayMs, HatcheryError, isFinal } from "./client.js";
import type { ClientOptions, End, Hatch, HatchMessage, Sessions, Status, View } from "./client.js";

declare const process: { env: Record<string, string> };

const told: string[] = [];
const client: Client = connect(process.env.GATEWAY, { follow: "mine", client: "sample/1" });
const follower = new Client(process.env.GATEWAY, { follow: "mine" });
client.addEventListener("status", ({ detail }) => told.push(phrase(detail)), { once: true });
await new Promise<void>((resolve) => {
  client.addEventListener("welcome", ({ detail }) => resolve(void told.push(detail.engines.image)));
});
client.addEventListener("goingaway", ({ detail }) => console.log(detail.deadline_ms));

const followed = new Promise<Hatch>((resolve) => {
  follower.addEventListener("session", ({ detail }) => resolve(detail));
});
const hatch: Hatch = client.hatch("a shy dragon", { key: "sample", maxHz: 50, previews: true, graceS: 5 });
let changed = 0;
hatch.addEventListener("change", ({ detail: view }: CustomEvent<View>) => (changed = view.revision));
hatch.addEventListener("message", ({ detail }) => detail.session === hatch.session || told.push("a stray"));
for await (const message of hatch) read(message);
const { outcome, receipt }: End = await hatch.done;
const { view } = hatch;
told.push(outcome, `${receipt.steps_done} steps`, `${view.persona.traits?.length} traits`);
told.push(`${view.personaComplete} ${view.percent} ${view.queuePosition} ${view.etaS?.[1] ?? ""} ${view.end?.outcome}`);
told.push(String(changed === view.revision), String(view.snapshot().seq === view.cursor.seq));
told.push(String((await followed).session === (await hatch.accepted)), hatch.key ?? "");

const again = client.watch(view.session ?? "", { previews: false });
told.push((await again.done).agent === view.agent ? "the same" : "another");
const { items }: Sessions = await client.list({ states: ["done"], limit: 1 });
told.push(items[0].prompt);

const spec = { prompt: "an owl", image: { steps: 100, seed: 7 } };
const second = client.hatch(spec, { onDisconnect: "cancel" });
const { session } = await second.cancel("enough");
told.push((await second.done).outcome, String(session === second.session), second.view.reason ?? "");
const left = client.hatch("a fox");
await left.accepted;
left.unwatch();
await left.done.catch((error: unknown) => error instanceof HatcheryError && told.push(error.code, error.name));
await left.cancel();

client.removeEventListener("status", null);
client.close();
follower.close();
told.push(phrase(client.status), String(isFinal(4501)), String(delayMs(1, 1)));
console.log(told.join("\n"));

function phrase({ state, retryAtMs, code, error }: Status): string {
  return state === "waiting" ? `${new Date(retryAtMs ?? 0)} ${code} ${error?.retryAfterMs}` : state;
}

function read(message: HatchMessage): void {
  if (message.type === "artifact") told.push(message.mime);
}

export function wrong(options: ClientOptions): void {
  // @ts-expect-error: a method that there is not
  client.start("a shy dragon");
  // @ts-expect-error: no prompt
  client.hatch({ image: { steps: 4 } });
  // @ts-expect-error: it is `maxHz` here
  client.watch("s1", { max_hz: 4 });
  // @ts-expect-error: there is no such state
  client.list({ states: ["hatched"] });
  // @ts-expect-error: nobody but the client folds messages
  hatch.view.percent = 100;
  // @ts-expect-error: it may be absent
  hatch.view.end.outcome;
  // @ts-expect-error: the detail is a view
  hatch.addEventListener("change", ({ detail }) => detail.type);
  // @ts-expect-error: no such option
  connect("", { ...options, tokn: "" });
}
