// Which edges remain: those strong enough, and of them those on a path from a source to the logits.

// One number per edge, 1 where it is kept.
export function chooseEdges(data, state) {
  const kept = new Uint8Array(data.edges.length);
  for (const edge of data.edges) {
    kept[edge.index] = edge.strength >= state.threshold && state.statuses.has(edge.status) ? 1 : 0;
  }
  for (const node of state.hidden) dropNode(data, kept, node);
  const onPaths = keepPaths(data, kept);
  state.nLoose = countOnes(kept) - countOnes(onPaths);
  return state.dropsDangling ? onPaths : kept;
}

export function countOnes(kept) {
  let sum = 0;
  for (const one of kept) sum += one;
  return sum;
}

// An edge into an input that several heads share stays while one of them is not hidden.
function dropNode(data, kept, index) {
  const node = data.nodes[index];
  for (const edge of node.out) kept[edge.index] = 0;
  for (const edge of node.in) {
    if (data.readers[edge.to].nodes.length === 1) kept[edge.index] = 0;
  }
}

// Readers stand in the order of the forward pass, so that one way there and one back is enough.
export function keepPaths(data, kept) {
  const reached = data.nodes.map((node) => node.source);
  const entered = new Uint8Array(data.readers.length);
  for (const reader of data.readers) {
    if (!reader.in.some((edge) => kept[edge.index] && reached[edge.from])) continue;
    entered[reader.index] = 1;
    if (passesOn(data, reader, kept)) for (const node of reader.moves) reached[node] = true;
  }
  const useful = new Uint8Array(data.nodes.length);
  const onPath = new Uint8Array(data.readers.length);
  for (const reader of [...data.readers].reverse()) {
    const leads = reader.kind === "logits" || reader.moves.some((node) => useful[node]);
    if (!leads || !entered[reader.index] || !passesOn(data, reader, kept)) continue;
    onPath[reader.index] = 1;
    for (const edge of reader.in) if (kept[edge.index]) useful[edge.from] = 1;
  }
  return kept.map((one, index) => {
    const edge = data.edges[index];
    if (!one || !onPath[edge.to]) return 0;
    return edge.from === null || reached[edge.from] ? 1 : 0;
  });
}

// In the graph with direct edges a head does not use an input whose direct edge is gone.
function passesOn(data, reader, kept) {
  if (!data.direct || reader.kind === "logits" || reader.kind === "mlp") return true;
  return reader.direct !== null && kept[reader.direct.index] === 1;
}
