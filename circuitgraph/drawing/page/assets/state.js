// What the person at the page has chosen, and who wants to know when it changes.

export function makeState(data) {
  const listeners = [];
  return {
    threshold: 0,
    dropsDangling: true,
    statuses: new Set([0, 1, 2]),
    hidden: new Set(), // indices of nodes
    pinned: new Map(), // ids of shapes: where they were put, or null where the layout puts them
    groups: [], // { id, name, members: indices of nodes }
    marked: new Set(), // ids of shapes, for the next group
    selection: null, // { shape: id } or { bundle: id }
    fill: "kind",
    stroke: data.isComparison ? "status" : "input",
    kept: new Uint8Array(data.edges.length),
    listen: (listener) => listeners.push(listener),
    // what: "edges", "shapes", "selection" or "colours"
    tell: (what) => listeners.forEach((listener) => listener(what)),
  };
}
