// What a dropped file tells of its making: character cards in PNGs (tEXt, iTXt) and in JSON, and pictures' own notes.

import { isPicture } from "./inputpicture.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_PROMPT = 2000;

/**
 * `{prompt, image: {seed?, steps?, model?, width?, height?}}` of a file, or null for a picture without a card.
 * Throws an Error whose message is for people.
 */
export async function readCard(file) {
  if (file.size > MAX_BYTES) throw new Error("This file is too large for a card.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const isPng = SIGNATURE.every((byte, i) => bytes[i] === byte);
  if (!isPng && isPicture(file)) return null;
  if (!isPng) return fromCard(parse(new TextDecoder().decode(bytes)));
  const { texts, width, height } = readPng(bytes);
  const encoded = texts.get("ccv3") ?? texts.get("chara");
  if (encoded === undefined) return null;
  const { prompt, image } = fromCard(parse(fromBase64(encoded)));
  return { prompt, image: { ...image, width, height } };
}

/** Text chunks by lower-case keyword, and the picture's sides. */
export function readPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts = new Map();
  let [width, height, at] = [0, 0, SIGNATURE.length];
  while (at + 12 <= bytes.length) {
    const length = view.getUint32(at);
    const kind = latin1(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (data.length < length || kind === "IEND") break;
    if (kind === "IHDR") [width, height] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    const text = { tEXt: plainText, iTXt: internationalText }[kind]?.(data);
    if (text && !texts.has(text[0])) texts.set(...text);
    at += length + 12;
  }
  return { texts, width, height };
}

function plainText(data) {
  const end = data.indexOf(0);
  return end < 0 ? null : [latin1(data.subarray(0, end)).toLowerCase(), latin1(data.subarray(end + 1))];
}

/** keyword, compressed?, method, language, translated keyword, text; compressed ones hold no card. */
function internationalText(data) {
  const end = data.indexOf(0);
  if (end < 0 || data[end + 1] !== 0) return null;
  const language = data.indexOf(0, end + 3);
  const translated = data.indexOf(0, language + 1);
  if (language < 0 || translated < 0) return null;
  return [latin1(data.subarray(0, end)).toLowerCase(), new TextDecoder().decode(data.subarray(translated + 1))];
}

function fromCard(card) {
  const data = card?.data ?? card;
  if (typeof data !== "object" || data === null) throw new Error("This is no character card.");
  const making = data.extensions?.hatchery?.making;
  const prompt = making?.prompt ?? [data.name, data.description].filter((text) => typeof text === "string").join(": ");
  if (typeof prompt !== "string" || !prompt.trim()) throw new Error("This card names no prompt.");
  const image = {};
  if (Number.isSafeInteger(making?.seed)) image.seed = making.seed;
  if (Number.isSafeInteger(making?.steps) && making.steps > 0) image.steps = making.steps;
  if (typeof making?.painter?.model === "string") image.model = making.painter.model;
  return { prompt: prompt.trim().slice(0, MAX_PROMPT), image };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("This is no character card.");
  }
}

function fromBase64(text) {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
  } catch {
    throw new Error("The card in this picture is damaged.");
  }
}

function latin1(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
}
