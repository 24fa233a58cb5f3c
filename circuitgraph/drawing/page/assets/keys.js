// The picture by keyboard: arrows go along the strongest edges and along rows.

import { byId } from "./elements.js";

export function followKeys(app) {
  const picture = byId("picture");
  picture.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const id = event.target.closest("[data-shape]")?.dataset.shape ?? app.state.selection?.shape;
    const does = event.key.startsWith("Arrow") ? () => focusNext(app, id, event.key) : findAction(app, id, event);
    if (!does) return;
    event.preventDefault();
    does();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input")) {
      event.preventDefault();
      byId("search").focus();
    }
    if (event.key === "Escape" && !event.target.matches("input")) app.actions.choose(null);
  });
}

function findAction({ actions, view }, id, { key, shiftKey }) {
  const always = { "+": () => view.zoom(1.25), "=": () => view.zoom(1.25), "-": () => view.zoom(0.8), 0: () => view.fit() };
  const own = {
    Enter: () => (shiftKey ? actions.mark(id) : actions.choose({ shape: id })),
    " ": () => actions.choose({ shape: id }),
    h: () => actions.hide(id),
    p: () => actions.pin(id),
    m: () => actions.mark(id),
  };
  return always[key] || (id ? own[key] : undefined);
}

function focusNext(app, id, key) {
  const next = id && app.drawing.shapes.get(id)?.shown ? findNext(app.drawing, id, key) : findFirst(app.drawing);
  if (next) focusShape(app, next);
}

export function focusShape({ drawing }, id) {
  const { element } = drawing.shapes.get(id);
  for (const other of drawing.layers.nodes.querySelectorAll("[tabindex='0']")) other.setAttribute("tabindex", -1);
  element.setAttribute("tabindex", 0);
  element.focus();
}

function findFirst({ shapes }) {
  return [...shapes.values()].find((shape) => shape.shown)?.id;
}

function findNext({ shapes, touching, positions }, id, key) {
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const own = shapes.get(id);
    const sign = key === "ArrowLeft" ? -1 : 1;
    const x = (shape) => sign * (positions.get(shape.id).x - positions.get(id).x);
    const row = [...shapes.values()].filter((shape) => shape.shown && shape.rank === own.rank && x(shape) > 0);
    return row.sort((a, b) => x(a) - x(b))[0]?.id;
  }
  const [own, other] = key === "ArrowUp" ? ["from", "to"] : ["to", "from"];
  const bundles = touching.get(id).filter((bundle) => bundle.shown && bundle[own] === id);
  const strength = (bundle) => bundle.strongest?.strength ?? 0;
  return bundles.sort((a, b) => strength(b) - strength(a))[0]?.[other];
}
