// The page of a catalog: a table of circuits that can be searched and sorted.

import { announce, byId, formatCell, isolate, make, makeButton, makeFacts } from "./elements.js";
import { readData } from "./data.js";
import { makeTheme } from "./theme.js";

const COLUMNS = [
  ["task", "task"],
  ["model", "model"],
  ["algorithm", "algorithm"],
  ["metric", "metric"],
  ["edges", "edges"],
  ["share", "share of edges"],
  ["faithfulness", "faithfulness"],
  ["random", "random circuits"],
];

export const app = startCatalog();

function startCatalog() {
  const page = { ...readData(), column: "task", rising: true, wanted: "", opened: new Set() };
  byId("search").addEventListener("input", () => {
    page.wanted = byId("search").value.trim().toLowerCase();
    show(page);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input")) return;
    event.preventDefault();
    byId("search").focus();
  });
  makeTheme();
  show(page);
  document.documentElement.dataset.interactive = String(Math.round(performance.now()));
  return page;
}

function show(page) {
  const entries = page.entries.filter((entry) => matches(entry, page.wanted)).sort((a, b) => compare(a, b, page));
  const columns = COLUMNS.map(([name, text]) => makeHead(page, name, text));
  const head = make("thead", {}, make("tr", {}, ...columns, make("th", { scope: "col" }, "")));
  const body = make("tbody", {}, ...entries.flatMap((entry) => makeRows(page, entry)));
  const notes = page.notes.map((note) => make("p", { class: "note" }, isolate(note)));
  byId("catalog").replaceChildren(make("table", { class: "catalog" }, head, body), ...notes);
  announce(entries.length === page.entries.length ? "" : `${entries.length} of ${page.entries.length} circuits`);
}

// All words must be somewhere in what the row says.
function matches(entry, wanted) {
  const text = [entry.path, ...COLUMNS.map(([name]) => formatCell(entry[name]))].join(" ").toLowerCase();
  return wanted.split(/\s+/).every((word) => text.includes(word));
}

// What is not known comes last, whichever way it is sorted.
function compare(a, b, { column, rising }) {
  const [x, y] = [a, b].map((entry) => (entry[column]?.mean !== undefined ? entry[column].mean : entry[column]));
  if (x === null || y === null) return (x === null) - (y === null);
  const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
  return (rising ? order : -order) || a.path.localeCompare(b.path);
}

function makeHead(page, name, text) {
  const isSorted = page.column === name;
  const onclick = () => {
    page.rising = isSorted ? !page.rising : true;
    page.column = name;
    show(page);
    document.querySelector(`th[data-column="${name}"] button`).focus();
  };
  const arrow = isSorted ? (page.rising ? " ▲" : " ▼") : "";
  const sorted = isSorted ? (page.rising ? "ascending" : "descending") : null;
  return make("th", { scope: "col", "data-column": name, "aria-sort": sorted }, makeButton(`${text}${arrow}`, onclick));
}

function makeRows(page, entry) {
  const isOpen = page.opened.has(entry.path);
  const onclick = () => {
    if (isOpen) page.opened.delete(entry.path);
    else page.opened.add(entry.path);
    show(page);
    [...document.querySelectorAll("tr[data-path]")].find((row) => row.dataset.path === entry.path)?.querySelector("button").focus();
  };
  const cells = COLUMNS.map(([name]) => makeCell(name, entry[name]));
  const more = makeButton(isOpen ? "Less" : "More", onclick, { "aria-expanded": isOpen ? "true" : "false" });
  const row = make("tr", { "data-path": entry.path }, ...cells, make("td", {}, more));
  return isOpen ? [row, makeDetails(entry)] : [row];
}

function makeCell(name, value) {
  const isNumber = ["edges", "share", "faithfulness", "random"].includes(name);
  const cell = make("td", { class: isNumber ? "number" : null }, isolate(formatCell(roundShares(value))));
  const mean = name === "faithfulness" || name === "random" ? value?.mean : name === "share" ? value : undefined;
  if (typeof mean !== "number") return cell;
  const bar = make("span", { class: `bar ${name}` });
  bar.style.setProperty("--share", Math.min(1, Math.max(0, mean)));
  cell.append(bar);
  return cell;
}

// Shares of what lies between the whole model and nothing: more digits say nothing.
function roundShares(value) {
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, share]) => [name, Number(share.toFixed(3))]));
}

function makeDetails(entry) {
  const command = `circuitgraph view ${entry.place}`;
  const link = entry.link ? make("p", {}, make("a", { href: entry.link }, "Open its page")) : make("p", {}, "Look at it: ", make("code", {}, isolate(command)));
  const facts = makeFacts([["folder", entry.path], ...entry.facts.filter(([, value]) => value !== null)]);
  return make("tr", { class: "details" }, make("td", { colspan: COLUMNS.length + 1 }, facts, link));
}
