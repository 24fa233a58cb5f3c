// The buttons and choices above the picture.

import { byId, make } from "./elements.js";
import { STATUSES } from "./data.js";
import { savePng, saveSvg } from "./exporting.js";

export function makeToolbar(page) {
  const { data, state, actions, view, settle } = page;
  const name = byId("picture").dataset.name || "circuit";
  const clicks = {
    "zoom-in": () => view.zoom(1.25),
    "zoom-out": () => view.zoom(0.8),
    fit: () => view.fit(),
    "lay-out": settle,
    "save-svg": () => saveSvg(name),
    "save-png": () => savePng(name),
    group: () => actions.group(byId("group-name").value),
    "group-layers": () => actions.groupLayers(),
    "show-hidden": () => actions.showHidden(),
    overview: () => actions.choose(null),
  };
  for (const [id, onclick] of Object.entries(clicks)) byId(id).addEventListener("click", onclick);
  byId("dangling").addEventListener("change", (event) => {
    state.dropsDangling = event.target.checked;
    state.tell("edges");
    settle();
  });
  offerColours(page);
  if (data.isComparison) offerStatuses(page);
}

function offerColours({ data, state }) {
  const fills = [["kind", "kind"]];
  if (data.nodes.some((node) => node.type)) fills.push(["type", "type"]);
  if (data.nodes.some((node) => node.role)) fills.push(["role", "role"]);
  const strokes = data.isComparison ? [["status", "circuit"], ["input", "input"]] : [["input", "input"]];
  if (data.edges.some((edge) => edge.certainty)) strokes.push(["certainty", "certainty"]);
  offerChoice(byId("fill"), fills, (value) => (state.fill = value), state);
  offerChoice(byId("stroke"), strokes, (value) => (state.stroke = value), state);
}

function offerChoice(select, choices, set, state) {
  select.replaceChildren(...choices.map(([value, text]) => make("option", { value }, text)));
  select.parentElement.hidden = choices.length < 2;
  select.addEventListener("change", () => {
    set(select.value);
    state.tell("colours");
  });
}

// Which of the two circuits' edges are shown.
function offerStatuses({ state, settle }) {
  const boxes = STATUSES.map((text, number) => {
    const onchange = ({ target }) => {
      if (target.checked) state.statuses.add(number);
      else state.statuses.delete(number);
      state.tell("edges");
      settle();
    };
    return make("label", {}, make("input", { type: "checkbox", checked: true, onchange }), ` ${text}`);
  });
  byId("statuses").replaceChildren(...boxes);
  byId("statuses").hidden = false;
}
