// The picture: shapes and bundles as elements of SVG, made anew after a layout, else changed in place.

import { byId, formatNumber, makeSvg } from "./elements.js";
import { mainEffect } from "./data.js";
import { makeBundles, makeShapes, strongestEdge } from "./shapes.js";
import { colourBundle, colourShape, makeArrows } from "./colours.js";

const MOST_LABELS = 40; // edges; in a picture of more, numbers hide more than they show
const MOST_ARROWS = 400;
const CROWDED = 150; // edges; more of them are drawn paler
const THIN = 0.8;
const THICK = 5.2;

export function makeDrawing(data, state) {
  const layers = Object.fromEntries(["rows", "edges", "labels", "nodes"].map((name) => [name, makeSvg("g", { class: name })]));
  byId("picture").replaceChildren(makeArrows(), ...Object.values(layers));
  const drawing = { data, state, layers, positions: new Map(), paths: new Map() };
  regroup(drawing);
  return drawing;
}

// After groups changed: other shapes and bundles, which have no places yet.
export function regroup(drawing) {
  drawing.shapes = makeShapes(drawing.data, drawing.state);
  drawing.bundles = makeBundles(drawing.data, drawing.shapes);
  drawing.touching = new Map([...drawing.shapes.keys()].map((id) => [id, []]));
  for (const bundle of drawing.bundles) {
    drawing.touching.get(bundle.from).push(bundle);
    drawing.touching.get(bundle.to).push(bundle);
  }
  chooseShown(drawing);
}

// Which bundles and shapes remain, by the edges that remain.
export function chooseShown({ data, state, shapes, bundles, touching }) {
  for (const bundle of bundles) {
    const strongest = bundle.kind === "part" ? null : strongestEdge(bundle, state.kept);
    bundle.changed = strongest !== bundle.strongest;
    bundle.strongest = strongest;
    bundle.shown = strongest !== null;
  }
  for (const shape of shapes.values()) {
    const isHidden = shape.members.every((node) => state.hidden.has(node));
    const isTouched = touching.get(shape.id).some((bundle) => bundle.shown);
    shape.shown = !isHidden && (isTouched || state.pinned.has(shape.id));
  }
  for (const bundle of bundles) {
    if (bundle.kind === "part") bundle.shown = shapes.get(bundle.from).shown && shapes.get(bundle.to).shown;
  }
  data.nShown = [...shapes.values()].filter((shape) => shape.shown).reduce((sum, shape) => sum + shape.members.length, 0);
}

export function listShown({ shapes, bundles }) {
  return [[...shapes.values()].filter((shape) => shape.shown), bundles.filter((bundle) => bundle.shown)];
}

// All elements anew, at the places of a layout. Pinned shapes stay where they were put.
export function draw(drawing, layout) {
  const { layers, shapes, bundles, state } = drawing;
  const moved = new Set();
  for (const [id, place] of layout.positions) {
    const own = state.pinned.get(id);
    if (own) moved.add(id);
    drawing.positions.set(id, own || place);
  }
  drawing.paths = layout.paths;
  for (const { id, from, to } of bundles) if (moved.has(from) || moved.has(to)) drawing.paths.delete(id);
  const [shownShapes, shownBundles] = listShown(drawing);
  drawing.hasLabels = shownBundles.length <= MOST_LABELS;
  drawing.hasArrows = shownBundles.length <= MOST_ARROWS;
  byId("picture").classList.toggle("crowded", shownBundles.length > CROWDED);
  for (const bundle of bundles) bundle.element = bundle.label = null;
  for (const shape of shapes.values()) shape.element = null;
  for (const layer of [layers.labels, layers.edges]) layer.replaceChildren();
  for (const bundle of shownBundles) drawBundle(drawing, bundle);
  const nodes = [...shapes.values()].filter(({ id }) => drawing.positions.has(id));
  layers.nodes.replaceChildren(...nodes.map((shape) => drawShape(drawing, shape)));
  drawRows(drawing, shownShapes);
}

function drawBundle(drawing, bundle) {
  if (!drawing.positions.has(bundle.from) || !drawing.positions.has(bundle.to)) return;
  bundle.element = makeSvg("path", { "data-bundle": bundle.id, fill: "none" });
  if (drawing.hasLabels && bundle.kind !== "part") {
    bundle.label = makeSvg("text", { class: "effect", "data-bundle": bundle.id, "text-anchor": "middle", dy: "0.35em" });
    drawing.layers.labels.append(bundle.label);
  }
  routeBundle(drawing, bundle);
  showBundle(drawing, bundle, true);
  drawing.layers.edges.append(bundle.element);
}

// The layout's curve, or a plain one where a shape was moved since.
export function routeBundle(drawing, bundle) {
  const { element, label } = bundle;
  element.setAttribute("d", drawing.paths.get(bundle.id) || bendBundle(drawing, bundle));
  if (!label) return;
  const middle = element.getPointAtLength(element.getTotalLength() / 2);
  label.setAttribute("x", middle.x);
  label.setAttribute("y", middle.y);
}

function bendBundle({ shapes, positions }, { from, to, port }) {
  const [start, end] = [positions.get(from), positions.get(to)];
  const [low, high] = [shapes.get(from), shapes.get(to)];
  const [x1, y1] = [start.x, start.y - low.height / 2];
  const x2 = end.x + (port ? ("qkv".indexOf(port) - 1) * (high.width / 3) : 0);
  const y2 = end.y + high.height / 2;
  const bend = Math.max(24, Math.abs(y1 - y2) * 0.45);
  return `M${x1},${y1}C${x1},${y1 - bend} ${x2},${y2 + bend} ${x2},${y2}`;
}

function showBundle(drawing, bundle, all) {
  const { element, label, strongest, shown } = bundle;
  if (all || bundle.changed) {
    const effect = strongest && mainEffect(strongest);
    const share = effect === null ? 0.1 : Math.min(1, Math.abs(effect) / (drawing.data.largest || 1));
    element.setAttribute("stroke-width", bundle.kind === "part" ? 1 : (THIN + THICK * share).toFixed(2));
    if (label) label.textContent = effect === null ? "" : formatNumber(effect);
    colourBundle(drawing, bundle);
  }
  if (all || shown !== element.shown) {
    element.shown = shown;
    element.style.display = shown ? "" : "none";
    if (label) label.style.display = shown ? "" : "none";
  }
}

function drawShape(drawing, shape) {
  const { width, height, kind, name, caption } = shape;
  const { x, y } = drawing.positions.get(shape.id);
  const cells = kind === "head" ? 16 : 0;
  const round = kind === "input" ? height / 2 : 6;
  const middle = (-cells - (caption ? 14 : 0)) / 2;
  shape.element = makeSvg(
    "g",
    { class: "node", role: "button", tabindex: -1, "data-shape": shape.id, transform: `translate(${x},${y})`, "aria-label": describeShape(shape) },
    makeSvg("rect", { class: "box", x: -width / 2, y: -height / 2, width, height, rx: round }),
    makeSvg("text", { class: "name", y: middle, "text-anchor": "middle", dy: "0.35em" }, name),
    caption ? makeSvg("text", { class: "caption", y: middle + 14, "text-anchor": "middle", dy: "0.35em" }, caption) : null,
    ...(cells ? drawCells(drawing, shape, cells) : []),
  );
  colourShape(drawing, shape);
  shape.element.style.display = shape.shown ? "" : "none";
  return shape.element;
}

function drawCells(drawing, { id, width, height }, cell) {
  const used = new Set(drawing.touching.get(id).filter((bundle) => bundle.to === id && bundle.shown).map((bundle) => bundle.kind));
  return ["q", "k", "v"].flatMap((letter, number) => {
    const x = -width / 2 + (number * width) / 3;
    const place = { x: x + 1, y: height / 2 - cell, width: width / 3 - 2, height: cell - 1, rx: 3 };
    const text = { class: "letter", x: x + width / 6, y: (height - cell) / 2, "text-anchor": "middle", dy: "0.35em" };
    const kind = used.has(letter) ? `cell input-${letter}` : "cell unused";
    return [makeSvg("rect", { class: kind, ...place }), makeSvg("text", text, letter)];
  });
}

function describeShape({ name, caption, kind }) {
  return [name, kind, caption].filter(Boolean).join(", ");
}

// The names of the rows, at the left edge.
function drawRows({ data, positions, layers }, shapes) {
  const rows = new Map();
  for (const shape of shapes) {
    const { row } = data.nodes[shape.members[0]];
    if (row && positions.has(shape.id) && shape.kind !== "group") rows.set(row, positions.get(shape.id).y);
  }
  const left = Math.min(layers.nodes.getBBox().x, layers.edges.getBBox().x);
  const texts = [...rows].map(([row, y]) => makeSvg("text", { class: "row", x: left - 24, y, "text-anchor": "end", dy: "0.35em" }, row));
  layers.rows.replaceChildren(...texts);
}

// What remains, shown and hidden in place: cheap enough for every step of the slider. Edges that
// were not shown at the last layout are drawn when they first are.
export function refresh(drawing) {
  chooseShown(drawing);
  for (const bundle of drawing.bundles) {
    if (bundle.element) showBundle(drawing, bundle, false);
    else if (bundle.shown) drawBundle(drawing, bundle);
  }
  for (const shape of drawing.shapes.values()) {
    const { element, shown } = shape;
    if (element && element.shown !== shown) {
      element.shown = shown;
      element.style.display = shown ? "" : "none";
    }
  }
}

export function recolour(drawing) {
  for (const bundle of drawing.bundles) if (bundle.element) colourBundle(drawing, bundle);
  for (const shape of drawing.shapes.values()) if (shape.element) colourShape(drawing, shape);
}

export function moveShape(drawing, id, place) {
  drawing.positions.set(id, place);
  drawing.shapes.get(id).element.setAttribute("transform", `translate(${place.x},${place.y})`);
  for (const bundle of drawing.touching.get(id)) {
    drawing.paths.delete(bundle.id);
    if (bundle.element) routeBundle(drawing, bundle);
  }
}
