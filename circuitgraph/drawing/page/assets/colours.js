// Colours: of edges by the input they enter or the circuit they are of, of nodes by kind, role or type.

import { make, makeSvg } from "./elements.js";
import { mainEffect, STATUSES } from "./data.js";

const INPUTS = { q: "into a query", k: "into a key", v: "into a value", mlp: "into an MLP or the logits" };
const KINDS = { head: "head", mlp: "MLP", unit: "neuron or feature", end: "embedding, logits", group: "group" };
const CERTAINTIES = {
  core: "core: kept by nearly all searches",
  contingent: "contingent",
  noise: "noise: kept by hardly any",
  unknown: "not measured",
};
const N_COLOURS = 8; // of roles and types; then they come again

function nameStroke({ state }, bundle) {
  if (bundle.kind === "part") return "part";
  if (state.stroke === "status") return `status-${bundle.strongest ? bundle.strongest.status : 0}`;
  if (state.stroke === "certainty") return `certainty-${bundle.strongest?.certainty || "unknown"}`;
  return `input-${bundle.kind in INPUTS ? bundle.kind : "mlp"}`;
}

export function colourBundle(drawing, bundle) {
  const stroke = nameStroke(drawing, bundle);
  const effect = bundle.strongest ? mainEffect(bundle.strongest) : null;
  const near = ["near", "chosen"].filter((name) => bundle.element.classList.contains(name));
  bundle.element.setAttribute("class", ["edge", stroke, effect < 0 ? "negative" : "", ...near].join(" "));
  if (drawing.hasArrows && stroke !== "part") bundle.element.setAttribute("marker-end", `url(#arrow-${stroke})`);
}

export function makeArrows() {
  const strokes = [
    ...Object.keys(INPUTS).map((name) => `input-${name}`),
    ...STATUSES.map((_, i) => `status-${i}`),
    ...Object.keys(CERTAINTIES).map((name) => `certainty-${name}`),
  ];
  const arrows = strokes.map((stroke) =>
    makeSvg(
      "marker",
      { id: `arrow-${stroke}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto", markerUnits: "userSpaceOnUse" },
      makeSvg("path", { class: `arrow ${stroke}`, d: "M0,0.8L8,4L0,7.2Z" }),
    ),
  );
  return makeSvg("defs", {}, ...arrows);
}

function nameKind(kind) {
  if (["neuron", "feature"].includes(kind)) return "unit";
  if (["embed", "logits"].includes(kind)) return "end";
  return ["head", "group"].includes(kind) ? kind : "mlp";
}

// What a node is coloured by: its role or its type, "" where it has none.
function readCategory(data, state, shape) {
  const node = data.nodes[shape.members[0]];
  return (state.fill === "role" ? node.role : node.type) || "";
}

export function listCategories(data, state) {
  const names = data.nodes.map((node) => (state.fill === "role" ? node.role : node.type)).filter(Boolean);
  return [...new Set(names)].sort();
}

function nameFill({ data, state }, shape) {
  if (state.fill === "kind") return `fill-${nameKind(shape.kind)}`;
  const number = listCategories(data, state).indexOf(readCategory(data, state, shape));
  return number < 0 ? "fill-none" : `category-${number % N_COLOURS}`;
}

export function colourShape(drawing, shape) {
  const { state } = drawing;
  const names = ["node", nameFill(drawing, shape)];
  if (state.pinned.has(shape.id)) names.push("pinned");
  if (state.marked.has(shape.id)) names.push("marked");
  if (state.selection?.shape === shape.id) names.push("chosen");
  shape.element.setAttribute("class", names.join(" "));
}

export function makeLegend(data, state) {
  const unit = data.circuits[0].metric;
  const strokes = {
    status: STATUSES.map((name, number) => [`status-${number}`, name]),
    certainty: Object.entries(CERTAINTIES).map(([name, text]) => [`certainty-${name}`, text]),
    input: Object.entries(INPUTS).map(([name, text]) => [`input-${name}`, text]),
  }[state.stroke];
  const fills = state.fill === "kind" ? listKinds(data) : listCategories(data, state).map((name, i) => [`category-${i % N_COLOURS}`, name]);
  const items = [
    ...strokes.map(([name, text]) => makeItem(`line ${name}`, text)),
    ...fills.map(([name, text]) => makeItem(`box ${name}`, text)),
    makeItem("line negative", "dashed: removing it helps"),
    makeItem("line wide", `width: ${unit ? `effect on ${unit}` : "score"}`),
  ];
  return make("ul", { class: "legend" }, ...items);
}

function listKinds(data) {
  const kinds = new Set(data.nodes.map((node) => nameKind(node.kind)));
  return Object.entries(KINDS).filter(([name]) => kinds.has(name)).map(([name, text]) => [`fill-${name}`, text]);
}

function makeItem(name, text) {
  return make("li", {}, make("span", { class: `swatch ${name}` }), make("bdi", {}, text));
}
