// The egg's drawing: shell, speckles, cracks, nest, and the eyes within. A text decides all chance in it.

import { svg } from "./dom.js";

const SHELL = "M100 14C146 14 178 92 178 150C178 207 144 244 100 244C56 244 22 207 22 150C22 92 54 14 100 14Z";
const PARTS_AT = 136; // where the two halves meet
const TEETH = 11;
const START = 6; // the tooth where the crack begins
const BRANCHES = [[0, 14], [-1, 24], [2, 30], [-2, 40], [3, 52], [-4, 58]]; // teeth from the start, and percent
let count = 0;

/**
 * A whole egg: `{drawing, nest, cracks, picture, part}`, two drawings so that one may rock in the other. A crack is
 * `{path, from, to}`, its percent from first sign to full length; `picture` is an image within; `part(open)` lets the
 * halves be two, since two clips that meet show a seam.
 */
export function drawEgg(seed) {
  const random = generator(seed);
  const id = `egg${(count += 1)}`;
  const line = zigzag(random);
  const cracks = crackAlong(line, random);
  const specks = speckle(random);
  const picture = svg("image", { x: 12, y: 56, width: 176, height: 176, preserveAspectRatio: "xMidYMid slice" });
  const whole = `url(#${id}-whole)`;
  const within = (where, ...parts) => svg("g", { class: where, "clip-path": whole }, ...parts);
  const half = (where, clip) =>
    svg(
      "g",
      clip,
      svg("path", { d: SHELL, class: "shell", fill: `url(#${id}-shade)` }),
      ...specks.map((speck) => speck.cloneNode()),
      svg("ellipse", { class: "gleam", cx: 72, cy: 82, rx: 12, ry: 26, transform: "rotate(22 72 82)" }),
      ...pathsOf(cracks, where),
    );
  const bottom = half("bottom", {});
  const canvas = (kind, ...parts) => svg("svg", { viewBox: "0 0 200 270", class: kind, focusable: "false" }, ...parts);
  const drawing = canvas(
    "egg-drawing",
    definitions(id, line),
    within(
      "inside",
      svg("path", { d: SHELL, class: "dark" }),
      svg("path", { d: SHELL, class: "glow", fill: `url(#${id}-glow)` }),
      svg("g", { class: "eyes" }, eye(82), eye(118)),
      picture,
    ),
    svg("g", { class: "bottom-half" }, within("", bottom)),
    svg("g", { class: "top-half" }, within("", half("top", { "clip-path": `url(#${id}-top)` }))),
    within("arms", ...pathsOf(cracks, "arm")),
    plaster(),
  );
  const nest = canvas("nest", ...twigs(random, 14, 228, 5), ...twigs(random, 26, 238, 9));
  const part = (open) => {
    if (open) bottom.setAttribute("clip-path", `url(#${id}-bottom)`);
    else bottom.removeAttribute("clip-path");
  };
  return { drawing, nest, cracks, picture, part };
}

function definitions(id, line) {
  const to = (points) => points.map(([x, y]) => `${x} ${y}`).join("L");
  const [left, right] = [line[0][1], line.at(-1)[1]];
  const gradient = (name, place, ...stops) =>
    svg(
      "radialGradient",
      { id: `${id}-${name}`, ...place },
      ...stops.map(([offset, kind]) => svg("stop", { offset, class: kind })),
    );
  const clip = (name, d) => svg("clipPath", { id: `${id}-${name}` }, svg("path", { d }));
  return svg(
    "defs",
    {},
    gradient("shade", { cx: 0.36, cy: 0.28, r: 0.85 }, [0, "shade-light"], [0.55, "shade-mid"], [1, "shade-dark"]),
    gradient("glow", { cx: 0.5, cy: 0.5, r: 0.6 }, [0, "glow-in"], [1, "glow-out"]),
    clip("whole", SHELL),
    clip("top", `M-20 -40H220V${right}L${to([...line].reverse())}L-20 ${left}Z`),
    clip("bottom", `M-20 ${left}L${to(line)}L220 ${right}V280H-20Z`),
  );
}

function zigzag(random) {
  return Array.from({ length: TEETH + 1 }, (_, i) => {
    const bow = 9 * Math.sin((Math.PI * i) / TEETH);
    return [12 + 16 * i, Math.round(PARTS_AT + bow + (i % 2 ? 1 : -1) * (4 + 9 * random()))];
  });
}

/** Two arms along the line, and branches off it, up or down. */
function crackAlong(line, random) {
  const branches = BRANCHES.map(([tooth, from]) => {
    const up = random() < 0.6 ? -1 : 1;
    const points = [line[START + tooth]];
    for (let i = 0; i < 3; i += 1) {
      const [x, y] = points.at(-1);
      points.push([x + Math.round((random() - 0.5) * 24), y + up * Math.round(7 + random() * 12)]);
    }
    return crack(up < 0 ? "top" : "bottom", points, from, from + 24);
  });
  return [crack("arm", line.slice(START), 2, 64), crack("arm", line.slice(0, START + 1).reverse(), 8, 70), ...branches];
}

function crack(where, points, from, to) {
  const d = `M${points.map(([x, y]) => `${x} ${y}`).join("L")}`;
  return {
    path: svg("path", { d, class: "crack", pathLength: 100, "stroke-dasharray": 100, visibility: "hidden" }),
    where,
    from,
    to,
  };
}

const pathsOf = (cracks, where) => cracks.filter((one) => one.where === where).map(({ path }) => path);

function speckle(random) {
  return Array.from({ length: 34 }, () => {
    const [cx, cy] = [24 + 152 * random(), 24 + 214 * random()].map((n) => n.toFixed(1));
    const size = 1 + 3.6 * random() ** 2;
    return svg("ellipse", {
      class: `speck-${"abc"[Math.floor(random() * 3)]}`,
      cx,
      cy,
      rx: size.toFixed(1),
      ry: (size * 0.72).toFixed(1),
      transform: `rotate(${Math.round(360 * random())} ${cx} ${cy})`,
    });
  });
}

/** Twigs that lie around the egg, sagging in the middle like a bowl's rim. */
function twigs(random, number, y, sag) {
  return Array.from({ length: number }, (_, i) => {
    const middle = 30 + (140 * (i + random())) / number;
    const length = 20 + 18 * random();
    const level = y + sag * (1 - ((middle - 100) / 80) ** 2) + 12 * (random() - 0.5);
    const slope = 12 * (random() - 0.5) - (100 - middle) / 9;
    const [x1, y1, x, bent, x2, y2] = [
      middle - length,
      level + slope,
      middle,
      level + sag / 2,
      middle + length,
      level - slope,
    ].map(Math.round);
    return svg("path", { class: `twig twig-${"abc"[i % 3]}`, d: `M${x1} ${y1}Q${x} ${bent} ${x2} ${y2}` });
  });
}

function eye(cx) {
  return svg(
    "g",
    { class: "eye" },
    svg("circle", { cx, cy: 124, r: 8.5, class: "white" }),
    svg("circle", { cx: cx + 1, cy: 124.5, r: 4.6, class: "pupil" }),
    svg("circle", { cx: cx + 2.8, cy: 122.4, r: 1.5, class: "white" }),
  );
}

function plaster() {
  const pad = (x, width, rx, kind) => svg("rect", { x, y: 112, width, height: 24, rx, class: kind });
  return svg(
    "g",
    { class: "plaster", transform: "rotate(-18 112 124)" },
    pad(80, 64, 12, "strip"),
    pad(100, 24, 0, "pad"),
  );
}

/** Numbers in [0, 1) that a text decides (xmur3 into mulberry32, both in the public domain). */
function generator(text) {
  let state = 1779033703 ^ text.length;
  for (const character of text) state = Math.imul(state ^ character.codePointAt(0), 3432918353);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
