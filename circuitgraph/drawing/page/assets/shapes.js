// What is drawn: nodes or groups of them as shapes, edges that would lie on each other as bundles.

const HEIGHTS = { head: 42, input: 24 };
const LONGEST = 28; // letters of a caption; its node's panel has all
const LETTER = 7.6; // width of a letter of a name, in units of the drawing

export function makeShapes(data, state) {
  const groupOf = new Map(state.groups.flatMap((group) => group.members.map((node) => [node, group])));
  const shapes = new Map();
  for (const node of data.nodes) {
    const group = groupOf.get(node.index);
    const id = group ? group.id : `n${node.index}`;
    if (!shapes.has(id)) shapes.set(id, group ? makeGroup(data, group) : makeShape(node, id));
    node.shape = id;
  }
  return shapes;
}

function makeShape(node, id) {
  const text = node.role || node.type || "";
  const caption = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  const width = Math.max(58, LETTER * node.name.length + 18, Math.min(170, 6 * caption.length + 14));
  const height = (HEIGHTS[node.kind] || 30) + (caption ? 14 : 0);
  return { id, name: node.name, caption, kind: node.kind, rank: node.rank, members: [node.index], width, height };
}

function makeGroup(data, group) {
  const ranks = group.members.map((node) => data.nodes[node].rank).sort((a, b) => a - b);
  const caption = `${group.members.length} nodes`;
  const width = Math.max(84, LETTER * group.name.length + 24);
  const rank = ranks[Math.floor(ranks.length / 2)];
  return { id: group.id, name: group.name, caption, kind: "group", rank, members: group.members, width, height: 44 };
}

// From one shape to an input of another; what stays inside a group is not drawn.
export function makeBundles(data, shapes) {
  const bundles = new Map();
  for (const edge of data.edges) {
    if (edge.from === null) continue;
    const reader = data.readers[edge.to];
    for (const node of reader.nodes) addEdge(bundles, shapes, data.nodes[edge.from].shape, data.nodes[node].shape, reader.kind, edge);
  }
  for (const [from, to] of data.parts) {
    const ends = [data.nodes[from].shape, data.nodes[to].shape];
    if (ends[0] !== ends[1]) addEdge(bundles, shapes, ...ends, "part", null);
  }
  return [...bundles.values()];
}

function addEdge(bundles, shapes, from, to, kind, edge) {
  if (from === to) return;
  const port = shapes.get(to).kind === "head" && "qkv".includes(kind) ? kind : "";
  const id = `${from}-${to}-${kind}`;
  if (!bundles.has(id)) bundles.set(id, { id, from, to, kind, port, edges: [] });
  const bundle = bundles.get(id);
  if (edge && !bundle.edges.includes(edge)) bundle.edges.push(edge);
}

// The strongest of a bundle's edges that remain, or null.
export function strongestEdge(bundle, kept) {
  let best = null;
  for (const edge of bundle.edges) {
    if (kept[edge.index] && (best === null || edge.strength > best.strength)) best = edge;
  }
  return best;
}
