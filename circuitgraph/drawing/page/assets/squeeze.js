// Graphviz leaves room for every edge that passes a row: of many edges, too much to see anything.
// Then its order is kept, and rows are drawn together.

const GAP = 14;
const SHAPE = 1.7; // width of the picture to its height

export function squeezeLayout(layout, shapes) {
  const places = shapes.map((shape) => ({ shape, ...layout.positions.get(shape.id) }));
  const [left, right] = findRange(places.map(({ x }) => x));
  const [top, bottom] = findRange(places.map(({ y }) => y));
  const rows = Map.groupBy(places, ({ shape }) => shape.rank);
  const widest = Math.max(...[...rows.values()].map((row) => row.reduce((sum, { shape }) => sum + shape.width + GAP, 0)));
  const target = Math.max(widest, SHAPE * (bottom - top));
  if (right - left <= target) return layout;
  const positions = new Map();
  for (const row of rows.values()) {
    for (const place of row) place.x = ((place.x - left) * target) / (right - left);
    for (const { shape, x, y } of pushApart(row, target)) positions.set(shape.id, { x, y });
  }
  return { positions, paths: new Map() };
}

function findRange(numbers) {
  return [Math.min(...numbers), Math.max(...numbers)];
}

// From the left so that nothing overlaps, then from the right so that nothing sticks out.
function pushApart(row, width) {
  row.sort((a, b) => a.x - b.x);
  let edge = -Infinity;
  for (const place of row) {
    place.x = Math.max(place.x, edge + place.shape.width / 2);
    edge = place.x + place.shape.width / 2 + GAP;
  }
  edge = width + row.at(-1).shape.width / 2;
  for (const place of row.toReversed()) {
    place.x = Math.min(place.x, edge - place.shape.width / 2);
    edge = place.x - place.shape.width / 2 - GAP;
  }
  return row;
}
