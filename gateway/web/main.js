// The page: puts its parts together around one connection.

import { connect } from "./client.js";
import { openAgent } from "./agent.js";
import { Announcer } from "./announce.js";
import { Bell } from "./bell.js";
import { Composer } from "./composer.js";
import { showConnection, showEngines, UNAUTHENTICATED } from "./connection.js";
import { byId, setText } from "./dom.js";
import { acceptCards } from "./drop.js";
import { Egg } from "./egg.js";
import { Gallery } from "./gallery.js";
import { Hatches, WISHES } from "./hatches.js";
import { listenForKeys, showKeys } from "./keys.js";
import { logIn } from "./login.js";
import { sessionOf, watchToken } from "./share.js";
import { Title } from "./title.js";

const CLIENT = "hatchery page";

const title = new Title();
const announcer = new Announcer();
const token = watchToken();

byId("help-button").addEventListener("click", showKeys);
addEventListener("hashchange", () => watchToken() !== token && location.reload());
if (token) watchOnly();
else host();

/** The page of somebody who may hatch. */
function host() {
  const composer = new Composer({ hatch: start, changed: (settings) => bell.set(settings) });
  const bell = new Bell(composer.settings);
  const gallery = new Gallery({ open });
  const does = { again: (view) => start({ prompt: view.prompt, image: composer.image() }), open };
  const hatches = new Hatches(byId("hatches"), byId("hatches-section"), { does });
  tell(hatches);
  hatches.addEventListener("ended", ({ detail: card }) => {
    bell.ring(card);
    if (card.view.end.outcome === "done") gallery.refresh();
  });
  greet();
  acceptCards({
    take: (making) => composer.take(making),
    begin: (file) => composer.input.take(file),
    complain: (text) => composer.complain(text),
  });
  listenForKeys({
    submit: () => composer.submit(),
    cancel: () => hatches.current()?.cancel(),
    prompt: () => composer.focus(),
    gallery: () => byId("agents").querySelector('[tabindex="0"]')?.focus(),
  });
  const client = join({ follow: "mine" });
  client.addEventListener("welcome", () => {
    composer.limit(client.welcome);
    gallery.refresh();
    hatches.restore(client).catch(() => {}); // the connection went again: its next welcome restores
  });
  client.addEventListener("session", ({ detail: followed }) => {
    if (!hatches.has(followed.session)) hatches.add(client.watch(followed.session, WISHES));
    followed.unwatch(); // it has no previews
  });
  client.addEventListener("status", async () => {
    if (client.status.code !== UNAUTHENTICATED) return;
    await logIn();
    location.reload(); // everything is shown anew, as after any reload
  });

  function start(request) {
    composer.complain("");
    const hatch = client.hatch(request, { ...WISHES, previews: composer.settings.previews });
    const card = hatches.add(hatch, { prompt: request.prompt });
    hatch.accepted.catch((error) => {
      hatches.dismiss(card);
      composer.complain(error.message);
    });
    card.element.scrollIntoView({ block: "nearest" });
  }

  async function open(agent) {
    try {
      const hatch = (request) => start({ ...request, image: { ...composer.image(), ...request.image } });
      const gone = (deleted) => gallery.drop(deleted);
      const closed = (shown) => gallery.focusOn(shown);
      openAgent(await gallery.find(agent), { hatch, gone, closed });
    } catch (error) {
      composer.complain(error.message);
    }
  }
}

/** The page of somebody who came by a link: one hatch, to look at. */
function watchOnly() {
  document.body.classList.add("watching");
  byId("composer").remove();
  setText(byId("hero-title"), "Watch it hatch");
  const hatches = new Hatches(byId("hatches"), byId("hatches-section"), { guest: true });
  tell(hatches);
  const client = join({ watchToken: token });
  hatches.add(client.watch(sessionOf(token), WISHES));
}

/** Open the connection, and show how it is and who works behind it. */
function join(options) {
  const client = connect(undefined, { client: CLIENT, ...options });
  const guest = options.watchToken !== undefined;
  showConnection(client, { loginShown: !guest });
  client.addEventListener("welcome", () => showEngines(client.welcome.engines, guest));
  return client;
}

/** Let the tab and screen readers know how the hatches are. */
function tell(hatches) {
  hatches.addEventListener("change", () => {
    title.show(hatches.cards);
    for (const card of hatches.cards) announcer.hear(card);
  });
}

function greet() {
  const egg = new Egg("hatchery");
  egg.setMood("resting");
  egg.setPercent(16);
  byId("hero-egg").append(egg.element);
}
