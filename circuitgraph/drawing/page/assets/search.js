// Looking for nodes and edges by name, by names of papers, by role and by type.

import { byId, isolate, make, makeButton } from "./elements.js";
import { listAliases } from "./data.js";

const MOST = 30;

export function makeSearch({ data, actions }) {
  const input = byId("search");
  const list = byId("matches");
  const close = () => list.replaceChildren();
  const choose = (match) => {
    close();
    if (match.edge) actions.chooseEdge(match.edge);
    else actions.choose({ shape: match.node.shape }, { center: true });
  };
  input.addEventListener("input", () => {
    const matches = findMatches(data, input.value);
    const items = matches.map((match) => make("li", {}, makeMatch(match, () => choose(match))));
    list.replaceChildren(...(items.length || !input.value ? items : [make("li", { class: "note" }, "nothing of that name")]));
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") list.querySelector("button")?.click();
    if (event.key === "Escape") close();
    if (event.key === "ArrowDown") list.querySelector("button")?.focus();
  });
  list.addEventListener("keydown", (event) => moveFocus(event, input));
}

function moveFocus(event, input) {
  const item = event.target.closest("li");
  const to = { ArrowDown: item?.nextElementSibling, ArrowUp: item?.previousElementSibling }[event.key];
  if (event.key === "ArrowUp" && !to) input.focus();
  else if (event.key === "Escape") input.focus();
  else to?.querySelector("button")?.focus();
}

export function findMatches(data, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const rate = (names) => {
    const own = names.filter(Boolean).map((name) => name.toLowerCase());
    if (own.includes(wanted)) return 0;
    return own.some((name) => name.startsWith(wanted)) ? 1 : own.some((name) => name.includes(wanted)) ? 2 : 3;
  };
  const nodes = data.nodes.map((node) => ({ node, rate: rate([node.name, ...listAliases(node), node.role, node.type]) }));
  const edges = data.edges.filter((edge) => edge.from !== null).map((edge) => ({ edge, rate: rate([edge.name]) }));
  const matches = [...nodes, ...edges].filter((match) => match.rate < 3);
  return matches.sort((a, b) => a.rate - b.rate || Boolean(a.edge) - Boolean(b.edge)).slice(0, MOST);
}

function makeMatch({ node, edge }, onclick) {
  const button = makeButton("", onclick);
  const more = node && (node.role || node.type);
  button.append(isolate((node || edge).name), more ? make("span", { class: "note" }, isolate(` ${more}`)) : "");
  return button;
}
