// A chime and a notification at the end, for those who asked for them.

import { shorten } from "./words.js";

const NOTES = [659.3, 987.8]; // E5, B5

/** Rings as the settings say. */
export class Bell {
  constructor(settings) {
    this.settings = settings;
  }

  /** Take new settings; asks the browser's leave for notifications when they are switched on. */
  async set(settings) {
    this.settings = settings;
    if (settings.sound && !this._context) this._context = new AudioContext(); // while there is a gesture
    if (settings.notify && "Notification" in window && Notification.permission === "default")
      await Notification.requestPermission();
  }

  ring({ view, seenRunning }) {
    if (view.end.outcome === "cancelled" || !seenRunning) return; // what had ended before this page came is no news
    if (this.settings.sound) this._chime(view.end.outcome === "done");
    if (this.settings.notify && document.hidden && window.Notification?.permission === "granted") this._notify(view);
  }

  _chime(happy) {
    if (navigator.userActivation?.hasBeenActive === false) return; // browsers allow no sound before a gesture
    this._context ??= new AudioContext();
    const { currentTime, destination } = this._context;
    (happy ? NOTES : [...NOTES].reverse()).forEach((frequency, i) => {
      const at = currentTime + 0.16 * i;
      const tone = new OscillatorNode(this._context, { frequency, type: "sine" });
      const volume = new GainNode(this._context, { gain: 0 });
      volume.gain.setValueAtTime(0, at);
      volume.gain.linearRampToValueAtTime(0.12, at + 0.02);
      volume.gain.exponentialRampToValueAtTime(0.0001, at + 0.9);
      tone.connect(volume).connect(destination);
      tone.start(at);
      tone.stop(at + 1);
    });
  }

  _notify(view) {
    const done = view.end.outcome === "done";
    const title = done ? `${view.persona.name} has hatched` : "A hatch failed";
    const avatar = view.artifacts.findLast((artifact) => artifact.kind === "avatar");
    const body = done ? shorten(view.persona.tagline ?? "", 140) : (view.end.error?.message ?? "");
    new Notification(title, { body, tag: view.session, ...(avatar && { icon: avatar.url }) }).onclick = () =>
      window.focus();
  }
}
