// Clicks and drags: a click chooses a node or an edge, a drag moves a node or the picture.

import { byId, formatNumber } from "./elements.js";
import { mainEffect } from "./data.js";
import { moveShape } from "./drawing.js";

const STILL = 4; // pixels that a click may move
const REACH = [0, 3, -3, 6, -6]; // pixels around a click in which an edge is looked for

export function followPointer(drawing, view, choose) {
  const svg = byId("picture");
  let drag = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const id = event.target.closest("[data-shape]")?.dataset.shape;
    drag = { id, x: event.clientX, y: event.clientY, moved: false };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!drag) {
      byId("hint").textContent = describeTarget(drawing, event.target);
      return showNear(drawing, event.target.closest("[data-shape]")?.dataset.shape);
    }
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.moved && Math.hypot(dx, dy) < STILL) return;
    drag.moved = true;
    if (drag.id) moveShape(drawing, drag.id, view.toPicture(event));
    else {
      view.pan(dx, dy);
      Object.assign(drag, { x: event.clientX, y: event.clientY });
    }
  });
  svg.addEventListener("pointerup", (event) => {
    const ended = drag;
    drag = null;
    if (!ended) return;
    if (ended.moved && ended.id) pinShape(drawing, ended.id);
    else if (!ended.moved) choose(ended.id ? { shape: ended.id } : findBundle(event), event.shiftKey);
  });
  svg.addEventListener("pointercancel", () => (drag = null));
  svg.addEventListener("pointerleave", () => showNear(drawing, undefined));
}

// The edge under the pointer, in a corner: names on all edges would hide the picture.
function describeTarget({ bundles }, { dataset }) {
  const bundle = dataset.bundle && bundles.find((one) => one.id === dataset.bundle);
  if (!bundle?.strongest) return "";
  const more = bundle.edges.length > 1 ? `, the strongest of ${bundle.edges.length}` : "";
  return `${bundle.strongest.name}: ${formatNumber(mainEffect(bundle.strongest))}${more}`;
}

function pinShape({ state, positions }, id) {
  state.pinned.set(id, positions.get(id));
  state.tell("colours");
}

// Edges are thin: one that is near is meant too.
function findBundle({ clientX, clientY }) {
  for (const dx of REACH) {
    for (const dy of REACH) {
      const bundle = document.elementFromPoint(clientX + dx, clientY + dy)?.dataset?.bundle;
      if (bundle) return { bundle };
    }
  }
  return null;
}

// Edges of the node under the pointer stand out, or else of the node that was chosen.
export function showNear(drawing, hovered) {
  const id = hovered ?? drawing.state.selection?.shape;
  if (drawing.near === id) return;
  drawing.near = id;
  byId("picture").classList.toggle("focused", id !== undefined);
  for (const element of byId("picture").querySelectorAll(".near")) element.classList.remove("near");
  for (const { element, label } of drawing.touching.get(id) || []) {
    element?.classList.add("near");
    label?.classList.add("near");
  }
}
