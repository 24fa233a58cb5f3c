// The tree of a hypothesis: what each claim recovers when it alone is resampled.

import { formatCell, formatNumber, isolate, make, makeButton, makeFacts } from "./elements.js";

export function makeScrubTree(app, scrub) {
  const children = new Map(scrub.nodes.map((node) => [JSON.stringify(node.path), []]));
  const roots = [];
  for (const node of scrub.nodes) {
    const above = children.get(JSON.stringify(node.path.slice(0, -1)));
    (above || roots).push(node);
  }
  const makeList = (nodes) => make("ul", {}, ...nodes.map((node) => makeItem(app, node, makeList(children.get(JSON.stringify(node.path))))));
  return make(
    "section",
    { class: "scrub" },
    make("h3", {}, isolate(`Hypothesis: ${scrub.name}`)),
    makeFacts(scrub.facts),
    make("p", {}, isolate(scrub.verdict)),
    makeList(roots),
  );
}

function makeItem({ data, actions }, node, below) {
  const target = data.nodes.find((one) => one.name === node.node);
  const title = node.feeds && "qkv".includes(node.feeds) ? `${node.site} → ${node.feeds}` : node.site;
  const name = target ? makeButton(title, () => actions.choose({ shape: target.shape })) : make("strong", {}, isolate(title));
  const cost = make("span", { class: "cost", title: formatCell(node.alone) }, ` alone ${formatNumber(node.alone.mean)}`);
  cost.style.setProperty("--share", Math.min(1, Math.max(0, 1 - node.alone.mean)));
  const says = make("div", { class: "note" }, isolate(`${node.variable} = ${node.value}`), " from ", isolate(node.donor));
  return make("li", {}, name, cost, says, below);
}
