// The data of the page, with what is looked up often.

export function readData() {
  return JSON.parse(document.getElementById("data").textContent);
}

// Edges get `status` (0: of both circuits, or of the only one; 1: of the first; 2: of the second)
// and `strength`, the largest size of their effects; Infinity where nothing was measured.
export function prepareData(data) {
  data.isComparison = data.circuits.length === 2;
  data.edges.forEach((edge, index) => {
    edge.index = index;
    edge.status = data.isComparison && edge.kept[0] !== edge.kept[1] ? (edge.kept[0] ? 1 : 2) : 0;
    const sizes = edge.effects.filter((effect) => effect !== null).map(Math.abs);
    edge.strength = sizes.length ? Math.max(...sizes) : Infinity;
  });
  data.nodes.forEach((node, index) => Object.assign(node, { index, in: [], out: [] }));
  data.readers.forEach((reader, index) => Object.assign(reader, { index, in: [], direct: null }));
  for (const edge of data.edges) {
    const reader = data.readers[edge.to];
    if (edge.from === null) reader.direct = edge;
    else {
      reader.in.push(edge);
      data.nodes[edge.from].out.push(edge);
    }
    for (const node of reader.nodes) data.nodes[node].in.push(edge);
  }
  const measured = data.edges.map((edge) => edge.strength).filter(Number.isFinite);
  data.strengths = measured.sort((a, b) => a - b);
  data.largest = data.strengths.length ? data.strengths[data.strengths.length - 1] : 1;
  return data;
}

// The effect that an edge is drawn by: of the circuit that has it, of the first where both do.
export function mainEffect(edge) {
  return edge.effects[edge.status === 2 ? 1 : 0];
}

export const STATUSES = ["shared", "only in A", "only in B"];

// Names of papers, by which a node can be looked for too.
export function listAliases(node) {
  if (node.kind !== "head") return [];
  return [`L${node.layer}H${node.index_in_layer}`, `${node.layer}.${node.index_in_layer}`];
}
