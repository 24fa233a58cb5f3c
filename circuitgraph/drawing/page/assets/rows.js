// A layout at once: a row for each sublayer, in an order in which edges cross little.

const GAP_X = 26;
const GAP_Y = 64;
const SWEEPS = 6;

export function layOutRows(shapes, bundles) {
  const rows = groupRows(shapes);
  const near = listNeighbours(shapes, bundles);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const row of rows) placeRow(row);
    for (const row of sweep % 2 ? rows : [...rows].reverse()) orderRow(row, near);
  }
  let y = 0;
  const positions = new Map();
  for (const row of rows) {
    const height = Math.max(...row.map((shape) => shape.height));
    placeRow(row);
    for (const shape of row) positions.set(shape.id, { x: shape.x, y: y - height / 2 });
    y -= height + GAP_Y;
  }
  return { positions, paths: new Map() };
}

function groupRows(shapes) {
  const byRank = new Map();
  for (const shape of shapes) {
    if (!byRank.has(shape.rank)) byRank.set(shape.rank, []);
    byRank.get(shape.rank).push(shape);
  }
  return [...byRank.keys()].sort((a, b) => a - b).map((rank) => byRank.get(rank));
}

function listNeighbours(shapes, bundles) {
  const near = new Map(shapes.map((shape) => [shape.id, []]));
  const byId = new Map(shapes.map((shape) => [shape.id, shape]));
  for (const { from, to } of bundles) {
    if (!byId.has(from) || !byId.has(to)) continue;
    near.get(from).push(byId.get(to));
    near.get(to).push(byId.get(from));
  }
  return near;
}

function placeRow(row) {
  const width = row.reduce((sum, shape) => sum + shape.width + GAP_X, -GAP_X);
  let x = -width / 2;
  for (const shape of row) {
    shape.x = x + shape.width / 2;
    x += shape.width + GAP_X;
  }
}

function orderRow(row, near) {
  for (const shape of row) {
    const others = near.get(shape.id);
    shape.wish = others.length ? others.reduce((sum, other) => sum + other.x, 0) / others.length : shape.x;
  }
  row.sort((a, b) => a.wish - b.wish);
  placeRow(row);
}
