// What can be done with nodes and edges: chosen, hidden, pinned, marked and grouped.

import { announce } from "./elements.js";

export function makeActions(app) {
  const { data, state } = app;
  let number = 0;
  const toggle = (set, id) => (set.has(id) ? set.delete(id) : set.add(id));

  const actions = {
    choose(selection, { center = false } = {}) {
      state.selection = selection;
      state.tell("selection");
      const place = selection?.shape && app.drawing.positions.get(selection.shape);
      if (center && place) app.view.center(place);
    },
    chooseEdge(edge) {
      const bundle = app.drawing.bundles.find((one) => one.edges.includes(edge));
      if (bundle) actions.choose({ bundle: bundle.id });
    },
    hide(id) {
      for (const node of app.drawing.shapes.get(id).members) state.hidden.add(node);
      state.selection = null;
      announce("Hidden. “Show hidden” brings it back.");
      state.tell("edges");
    },
    showHidden() {
      state.hidden.clear();
      state.tell("edges");
    },
    pin(id) {
      if (state.pinned.has(id)) state.pinned.delete(id);
      else state.pinned.set(id, app.drawing.positions.get(id) || null);
      state.tell("edges");
    },
    mark(id) {
      toggle(state.marked, id);
      state.tell("selection");
    },
    group(name) {
      const shapes = [...state.marked].map((id) => app.drawing.shapes.get(id)).filter(Boolean);
      const members = [...new Set(shapes.flatMap((shape) => shape.members))];
      if (members.length < 2) return announce("Mark two nodes or more first: click them with Shift.");
      addGroup(name || `group ${number + 1}`, members);
      state.tell("shapes");
    },
    groupLayers() {
      const isGrouped = state.groups.length > 0;
      state.groups = [];
      const rows = Map.groupBy(data.nodes.filter((node) => node.row), (node) => node.row);
      if (!isGrouped) for (const [row, nodes] of rows) if (nodes.length > 1) addGroup(row, nodes.map((node) => node.index));
      state.selection = null;
      state.tell("shapes");
    },
    ungroup(id) {
      state.groups = state.groups.filter((group) => group.id !== id);
      state.selection = null;
      state.tell("shapes");
    },
  };

  function addGroup(name, members) {
    number += 1;
    const own = new Set(members);
    const others = state.groups.map((group) => ({ ...group, members: group.members.filter((node) => !own.has(node)) }));
    state.groups = [...others.filter((group) => group.members.length > 1), { id: `g${number}`, name, members }];
    state.marked.clear();
    state.selection = { shape: `g${number}` };
  }
  return actions;
}
