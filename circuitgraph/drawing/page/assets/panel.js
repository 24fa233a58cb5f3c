// The panel at the side: the circuit, or the node or the edge that was chosen.

import { byId, formatNumber, isolate, make, makeButton, makeFacts, makeTable } from "./elements.js";
import { mainEffect, STATUSES } from "./data.js";
import { makeLegend } from "./colours.js";
import { makeReadings } from "./readings.js";
import { makeScrubTree } from "./scrub.js";

const MOST_ROWS = 200; // of edges, in one list

export function showPanel(app) {
  const { selection } = app.state;
  const content = selection?.shape ? describeShape(app, selection.shape) : selection?.bundle ? describeBundle(app, selection.bundle) : describeCircuit(app);
  const panel = byId("panel");
  const hadFocus = panel.contains(document.activeElement);
  panel.replaceChildren(...content.filter(Boolean));
  panel.scrollTop = 0;
  if (hadFocus) panel.focus(); // what had it may be gone
}

function describeCircuit(app) {
  const { data, state } = app;
  const strongest = data.edges.filter((edge) => state.kept[edge.index] && edge.from !== null).sort((a, b) => b.strength - a.strength);
  return [
    make("h2", {}, data.isComparison ? "Two circuits" : "Circuit"),
    makeLegend(data, state),
    ...(data.isComparison ? [makeComparison(data)] : []),
    ...data.circuits.map(({ name, facts }) => make("section", {}, make("h3", {}, isolate(name)), makeFacts(facts))),
    ...data.notes.map((note) => make("p", { class: "note" }, isolate(note))),
    data.scrub ? makeScrubTree(app, data.scrub) : null,
    ...makeReadings(app, data.readings),
    make("h3", {}, "Strongest edges"),
    listEdges(app, strongest),
  ];
}

function makeComparison(data) {
  const counts = [0, 0, 0];
  for (const edge of data.edges) counts[edge.status] += 1;
  const share = data.edges.length ? counts[0] / data.edges.length : 1;
  const rows = STATUSES.map((name, number) => [name, counts[number]]);
  return make(
    "section",
    { class: "comparison" },
    makeTable(["edges", "number"], rows),
    make("p", {}, `${formatNumber(share)} of all edges are shared (Jaccard overlap).`),
  );
}

function describeShape(app, id) {
  const { data, state, drawing } = app;
  const shape = drawing.shapes.get(id);
  if (!shape) return describeCircuit(app);
  const nodes = shape.members.map((index) => data.nodes[index]);
  const [node] = nodes;
  const inside = new Set(shape.members);
  const isKept = (edge) => state.kept[edge.index] && edge.from !== null;
  const into = gatherEdges(nodes, "in", (edge) => isKept(edge) && !inside.has(edge.from));
  const out = gatherEdges(nodes, "out", isKept);
  return [
    make("h2", {}, isolate(shape.name)),
    makeActions(app, shape),
    shape.kind === "group" ? listMembers(app, nodes) : makeFacts(listFacts(node)),
    ...(shape.kind === "group" ? [] : makeReadings(app, node.readings)),
    make("h3", {}, `Edges in (${into.length})`),
    listEdges(app, into),
    make("h3", {}, `Edges out (${out.length})`),
    listEdges(app, out),
  ];
}

function gatherEdges(nodes, side, wanted) {
  return [...new Set(nodes.flatMap((node) => node[side]))].filter(wanted).sort((a, b) => b.strength - a.strength);
}

function listFacts(node) {
  return [["kind", node.kind], ["row", node.row], ["type", node.type], ["role", node.role], ...node.facts].filter(([, value]) => value);
}

function makeActions(app, { id, kind }) {
  const { state, actions } = app;
  return make(
    "p",
    { class: "actions" },
    makeButton("Hide", () => actions.hide(id), { title: "Hide it (h)" }),
    makeButton(state.pinned.has(id) ? "Unpin" : "Pin", () => actions.pin(id), { title: "Keep it where it is, and in sight (p)", "aria-pressed": state.pinned.has(id) }),
    makeButton(state.marked.has(id) ? "Unmark" : "Mark", () => actions.mark(id), { title: "Mark it for a group (m, or a click with Shift)", "aria-pressed": state.marked.has(id) }),
    kind === "group" ? makeButton("Ungroup", () => actions.ungroup(id), { title: "Nodes by themselves again" }) : null,
  );
}

function listMembers(app, nodes) {
  const items = nodes.map((node) => make("li", {}, isolate(node.name)));
  return make("ul", { class: "members" }, ...items);
}

function describeBundle(app, id) {
  const bundle = app.drawing.bundles.find((one) => one.id === id);
  if (!bundle) return describeCircuit(app);
  if (bundle.kind === "part") return [make("h2", {}, "Part of an MLP"), make("p", {}, "The node is computed from this MLP's input.")];
  const edges = bundle.edges.filter((edge) => app.state.kept[edge.index]);
  if (edges.length !== 1) return [make("h2", {}, `${edges.length} edges`), listEdges(app, edges)];
  return describeEdge(app, edges[0]);
}

function describeEdge(app, edge) {
  const { data } = app;
  const facts = data.circuits.map((circuit, number) => [
    data.isComparison ? `effect in ${"AB"[number]}` : "effect",
    edge.kept[number] ? (edge.effects[number] ?? "not measured") : "no edge of it",
  ]);
  if (data.isComparison) facts.push(["status", STATUSES[edge.status]]);
  const ends = [edge.from, ...data.readers[edge.to].nodes].map((index) => makeNodeButton(app, index));
  return [
    make("h2", {}, isolate(edge.name)),
    makeFacts([...facts, ...edge.facts]),
    make("p", { class: "note" }, isolate(data.circuits[0].score || "")),
    ...makeReadings(app, edge.readings),
    make("h3", {}, "Ends"),
    make("p", { class: "actions" }, ...ends),
  ];
}

function makeNodeButton({ data, actions }, index) {
  const { name, shape } = data.nodes[index];
  return makeButton(name, () => actions.choose({ shape }));
}

// A list of buttons, one for each edge, with a bar as long as its effect is large.
function listEdges(app, edges) {
  const items = edges.slice(0, MOST_ROWS).map((edge) => make("li", {}, makeEdgeButton(app, edge)));
  if (edges.length > MOST_ROWS) items.push(make("li", { class: "note" }, `... and ${edges.length - MOST_ROWS} more`));
  return make("ul", { class: "edges" }, ...items);
}

function makeEdgeButton({ data, actions }, edge) {
  const effect = mainEffect(edge);
  const status = data.isComparison ? ` status-${edge.status}` : "";
  const button = makeButton("", () => actions.chooseEdge(edge), { class: `edge-row${status}` });
  button.append(isolate(edge.name), make("span", { class: "number" }, formatNumber(effect)), makeBar(effect, data.largest));
  return button;
}

function makeBar(effect, largest) {
  const bar = make("span", { class: `bar${effect < 0 ? " negative" : ""}` });
  bar.style.setProperty("--share", effect === null ? 0 : Math.min(1, Math.abs(effect) / (largest || 1)));
  return bar;
}
