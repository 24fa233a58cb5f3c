// A layout by Graphviz, in a worker, so that the page never waits for it.
//
// Graphviz is told sizes and numbers only: no name of a node, no text of a file.

const MOST_CURVES = 700; // edges; of more, Graphviz places the nodes only,
const MOST_EDGES = 500; // by the strongest edges
const MANY_RANKS = 16; // of more, rows stand closer together
const SECONDS = 60;
let worker = null;

export function layOutByGraphviz(shapes, bundles) {
  worker?.terminate();
  const source = document.getElementById("layout-worker").textContent;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const own = (worker = new Worker(address));
  const ids = shapes.map((shape) => shape.id);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => own.terminate() || reject(new Error(`no layout within ${SECONDS} s`)), SECONDS * 1000);
    const end = (settle) => {
      clearTimeout(timer);
      own.terminate();
      URL.revokeObjectURL(address);
      settle();
    };
    own.onmessage = ({ data }) =>
      end(() => (data.error ? reject(new Error(data.error)) : resolve(readLayout(data.output, ids, bundles))));
    own.onerror = (event) => end(() => reject(new Error(event.message || "the worker failed")));
    own.postMessage(writeDot(shapes, bundles));
  });
}

export function writeDot(shapes, bundles) {
  const numbers = new Map(shapes.map((shape, number) => [shape.id, number]));
  const crowded = bundles.length > 60;
  const curves = bundles.length <= MOST_CURVES;
  const ranks = [...new Set(shapes.map((shape) => shape.rank))].sort((a, b) => a - b);
  const ranksep = ranks.length > MANY_RANKS ? 0.45 : crowded ? 1.1 : 0.75;
  const lines = [
    `digraph { rankdir=BT splines=${curves} nodesep=${crowded ? 0.25 : 0.4} ranksep=${ranksep}`,
    "node [shape=plain] edge [arrowsize=0.5]",
  ];
  for (const rank of ranks) {
    const own = shapes.filter((shape) => shape.rank === rank);
    const parts = own.map((shape) => `n${numbers.get(shape.id)} [label=<${writeBox(shape)}>]`);
    lines.push(`{ rank=same r${rank} [label="" shape=point width=0.01 style=invis] ${parts.join(" ")} }`);
  }
  for (let i = 1; i < ranks.length; i++) lines.push(`r${ranks[i - 1]} -> r${ranks[i]} [style=invis]`);
  const told = curves ? bundles : chooseStrongest(bundles);
  told.forEach(({ from, to, port }, number) => {
    const end = port ? `:${port}:s` : "";
    // without curves the page draws its own, and asks for none
    lines.push(`n${numbers.get(from)} -> n${numbers.get(to)}${end}${curves ? ` [id=e${number}]` : ""}`);
  });
  return [...lines, "}"].join("\n");
}

function chooseStrongest(bundles) {
  const strength = (bundle) => bundle.strongest?.strength ?? Infinity;
  return [...bundles].sort((a, b) => strength(b) - strength(a)).slice(0, MOST_EDGES);
}

function writeBox({ width, height, kind }) {
  const table = '<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="0" CELLPADDING="0">';
  const size = (w, h) => `FIXEDSIZE="TRUE" WIDTH="${Math.round(w)}" HEIGHT="${Math.round(h)}"`;
  if (kind !== "head") return `${table}<TR><TD ${size(width, height)}></TD></TR></TABLE>`;
  const cells = ["q", "k", "v"].map((port) => `<TD PORT="${port}" ${size(width / 3, 16)}></TD>`);
  return `${table}<TR><TD COLSPAN="3" ${size(width, height - 16)}></TD></TR><TR>${cells.join("")}</TR></TABLE>`;
}

function readLayout(text, ids, bundles) {
  const { objects = [], edges = [] } = JSON.parse(text);
  const positions = new Map();
  for (const { name, pos } of objects) {
    const number = /^n(\d+)$/.exec(name);
    if (!number || !pos) continue;
    const [x, y] = pos.split(",").map(Number);
    positions.set(ids[number[1]], { x, y });
  }
  const paths = new Map();
  for (const { id, pos } of edges) {
    const number = /^e(\d+)$/.exec(id || "");
    if (number && pos) paths.set(bundles[number[1]].id, readCurve(pos));
  }
  return { positions, paths };
}

// "e,x,y x,y ...": the end of the arrow, then the points of Bézier curves.
function readCurve(pos) {
  const points = pos.split(" ").map((part) => part.replace(/^[es],/, "").split(",").map(Number));
  const end = pos.startsWith("e") ? points.shift() : null;
  const curve = points.slice(1).map(([x, y]) => `${x},${y}`);
  const line = end ? `L${end[0]},${end[1]}` : "";
  return `M${points[0][0]},${points[0][1]}C${curve.join(" ")}${line}`;
}
