// The page of a circuit: its parts are put together here, and told what changes.

import { announce, byId } from "./elements.js";
import { prepareData, readData } from "./data.js";
import { makeState } from "./state.js";
import { chooseEdges, countOnes } from "./prune.js";
import { layOutRows } from "./rows.js";
import { layOutByGraphviz } from "./graphviz.js";
import { squeezeLayout } from "./squeeze.js";
import { chooseShown, draw, listShown, makeDrawing, recolour, refresh, regroup } from "./drawing.js";
import { makeView } from "./view.js";
import { followPointer, showNear } from "./pointer.js";
import { followKeys, focusShape } from "./keys.js";
import { makeActions } from "./actions.js";
import { makeSearch } from "./search.js";
import { makeSlider, showCounts } from "./slider.js";
import { makeToolbar } from "./toolbar.js";
import { showPanel } from "./panel.js";
import { makeTheme } from "./theme.js";

const MOST_AT_FIRST = 2500; // edges; of more, the strongest are shown until the slider asks for others

export const app = startPage();

function startPage() {
  const data = prepareData(readData());
  const state = makeState(data);
  const page = { data, state, view: makeView(), layouts: 0 };
  page.settle = () => {
    layOut(page);
    showPanel(page);
  };
  state.threshold = data.strengths.at(-MOST_AT_FIRST) ?? 0;
  state.kept = chooseEdges(data, state);
  if (countOnes(state.kept) === 0) byId("dangling").checked = state.dropsDangling = false;
  state.kept = chooseEdges(data, state);
  page.drawing = makeDrawing(data, state);
  page.actions = makeActions(page);
  state.listen((what) => follow(page, what));
  followPointer(page.drawing, page.view, (selection, isMarking) => {
    if (isMarking && selection?.shape) page.actions.mark(selection.shape);
    else page.actions.choose(selection);
  });
  for (const start of [followKeys, makeSearch, makeSlider, makeToolbar, makeTheme]) start(page);
  layOut(page, { fits: true });
  showPanel(page);
  document.documentElement.dataset.interactive = String(Math.round(performance.now()));
  return page;
}

function follow(page, what) {
  const { data, state, drawing } = page;
  if (what === "edges" || what === "shapes") state.kept = chooseEdges(data, state);
  if (what === "shapes") {
    regroup(drawing);
    layOut(page);
  }
  if (what === "edges") refresh(drawing);
  if (what === "colours" || what === "selection") recolour(drawing);
  // lists are long: not at every step of the slider
  if (!byId("picture").classList.contains("moving")) showPanel(page);
  if (what === "selection") showSelection(page);
  showCounts(page);
}

function showSelection({ state, drawing }) {
  for (const element of drawing.layers.edges.querySelectorAll(".chosen")) element.classList.remove("chosen");
  const bundle = drawing.bundles.find((one) => one.id === state.selection?.bundle);
  bundle?.element?.classList.add("chosen");
  showNear(drawing, undefined);
}

// Rows at once; Graphviz's layout, which is better, when it is there.
async function layOut(page, { fits = false } = {}) {
  const { drawing } = page;
  const number = (page.layouts += 1);
  chooseShown(drawing);
  const [shapes, bundles] = listShown(drawing);
  if (!page.hasLayout || shapes.some((shape) => !drawing.positions.has(shape.id))) place(page, layOutRows(shapes, bundles), fits);
  showCounts(page);
  announce("Laying out ...");
  try {
    const layout = await layOutByGraphviz(shapes, bundles);
    if (number === page.layouts) place(page, squeezeLayout(layout, shapes), true);
    announce("");
  } catch (error) {
    if (number === page.layouts) announce(`Rows only: Graphviz gave no layout (${error.message}).`);
  }
  document.documentElement.dataset.layouts = String(number);
}

function place(page, layout, fits) {
  const focused = document.activeElement?.dataset?.shape;
  draw(page.drawing, layout);
  page.drawing.near = null;
  showNear(page.drawing, undefined);
  page.hasLayout = true;
  if (fits) page.view.fit();
  if (focused && page.drawing.shapes.get(focused)?.element) focusShape(page, focused);
}
