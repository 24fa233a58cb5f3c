// Elements and numbers. Whatever comes from a file becomes a text node: never markup.

const SVG = "http://www.w3.org/2000/svg";

export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function makeSvg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

// A text of others among ours: its direction of writing stays its own.
export function isolate(text) {
  return make("bdi", {}, text);
}

export function makeButton(text, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, text);
}

export function formatNumber(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(2);
}

// A mean with its interval is an object of three numbers.
export function formatCell(cell) {
  if (cell !== null && typeof cell === "object") {
    const [mean, low, high] = [cell.mean, cell.low, cell.high].map((value) => (Math.abs(value) < 1e-6 ? "0" : formatNumber(value)));
    return `${mean} [${low}, ${high}]`;
  }
  if (typeof cell === "boolean") return cell ? "yes" : "no";
  return formatNumber(cell);
}

export function makeTable(columns, rows, attributes = {}) {
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, isolate(name))));
  const body = rows.map((row) => make("tr", {}, ...row.map(makeCell)));
  return make("table", attributes, make("thead", {}, head), make("tbody", {}, ...body));
}

function makeCell(cell) {
  if (cell instanceof Node) return make("td", {}, cell);
  const isNumber = typeof cell === "number" || (cell !== null && typeof cell === "object");
  return make("td", { class: isNumber ? "number" : null }, isolate(formatCell(cell)));
}

export function makeFacts(facts) {
  const parts = facts.flatMap(([name, value]) => [
    make("dt", {}, isolate(name)),
    make("dd", {}, isolate(formatCell(value))),
  ]);
  return make("dl", { class: "facts" }, ...parts);
}

// What happened, for those who see it and those who hear it.
export function announce(text) {
  byId("status").textContent = text;
}
