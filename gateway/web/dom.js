// Elements made by hand: text is only ever set as text, so nothing an LLM writes can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties, `on…` listeners, `aria-…`/`data-…` attributes, and children (nodes or text). */
export function el(name, props = {}, ...children) {
  return fill(document.createElement(name), props, children, false);
}

/** An SVG element; every property is an attribute. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children, true);
}

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/** Set text only where it differs, so that nothing is laid out for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Give, or with null or false take away, an attribute, only where it differs. */
export function setAttribute(node, name, value) {
  if (value === null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, String(value));
  }
}

function fill(node, props, children, attributesOnly) {
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (attributesOnly || name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}
