// Moving and scaling the picture, by pointer and by wheel.

import { byId } from "./elements.js";

const MARGIN = 18; // pixels around a picture that is fitted
const BUTTONS = 52; // pixels below it, where the buttons are
const LARGEST = 1.6; // of a small picture that is fitted to the window
const STEP = 1.0015;

export function makeView() {
  const svg = byId("picture");
  const box = { x: 0, y: 0, width: 100, height: 100 };
  const apply = () => svg.setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
  const view = {
    toPicture({ clientX, clientY }) {
      const matrix = svg.getScreenCTM().inverse();
      const point = new DOMPoint(clientX, clientY).matrixTransform(matrix);
      return { x: point.x, y: point.y };
    },
    pan(dx, dy) {
      const scale = svg.getScreenCTM().a;
      box.x -= dx / scale;
      box.y -= dy / scale;
      apply();
    },
    zoom(factor, at = { x: box.x + box.width / 2, y: box.y + box.height / 2 }) {
      box.x = at.x - (at.x - box.x) / factor;
      box.y = at.y - (at.y - box.y) / factor;
      box.width /= factor;
      box.height /= factor;
      apply();
    },
    center({ x, y }) {
      box.x = x - box.width / 2;
      box.y = y - box.height / 2;
      apply();
    },
    fit() {
      const bounds = svg.getBBox();
      if (!bounds.width || !bounds.height) return;
      const { width, height } = svg.getBoundingClientRect();
      const [across, down] = [width - 2 * MARGIN, height - MARGIN - BUTTONS];
      const scale = Math.min(across / bounds.width, down / bounds.height, LARGEST);
      Object.assign(box, { width: width / scale, height: height / scale });
      view.center({ x: bounds.x + bounds.width / 2, y: bounds.y + bounds.height / 2 + (BUTTONS - MARGIN) / 2 / scale });
    },
  };
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    view.zoom(STEP ** -event.deltaY, view.toPicture(event));
  }, { passive: false });
  return view;
}
