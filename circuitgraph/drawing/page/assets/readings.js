// Readings of nodes and edges: tables, texts in colour, and patterns as grids.

import { formatNumber, isolate, make, makeFacts, makeTable } from "./elements.js";

const MOST_ROWS = 60;

export function makeReadings(app, readings) {
  return readings.map((reading) =>
    make("section", { class: "reading" }, make("h3", {}, isolate(reading.title)), makeReading(reading)),
  );
}

function makeReading(reading) {
  if (reading.kind === "grid") return makeGrid(reading);
  if (reading.kind === "texts") return make("div", {}, ...reading.texts.map((text) => makeText(text, reading.texts)));
  const [first, ...others] = reading.rows;
  // one row is better read downwards: the panel is narrow
  if (!others.length) return makeFacts(reading.columns.map((column, number) => [column, first[number]]));
  return makeTable(reading.columns, reading.rows.slice(0, MOST_ROWS));
}

// Tokens, the stronger the larger their numbers; red above 0, blue below.
function makeText({ tokens, values }, texts) {
  const largest = Math.max(...texts.flatMap((text) => text.values.map((value) => Math.abs(value ?? 0))), 1e-12);
  const spans = tokens.map((token, i) => {
    const value = values[i];
    const span = make("span", { class: `token${value < 0 ? " negative" : ""}`, title: value === null ? null : formatNumber(value) }, isolate(token));
    span.style.setProperty("--share", Math.min(1, Math.abs(value ?? 0) / largest));
    return span;
  });
  return make("p", { class: "text" }, ...spans);
}

// A row for each query, a column for each key. Below it, what the cell under the pointer says.
function makeGrid({ row_labels, column_labels, values, row_axis, column_axis, unit }) {
  const largest = Math.max(...values.flat().map((value) => Math.abs(value ?? 0)), 1e-12);
  const said = make("p", { class: "note", "aria-live": "polite" }, `${row_axis} down, ${column_axis} across`);
  const cells = values.map((row, i) => {
    const head = make("th", { scope: "row" }, isolate(row_labels[i]));
    return make("tr", {}, head, ...row.map((value, j) => makeCell(value, largest, `${row_labels[i]} → ${column_labels[j]}: ${formatNumber(value)}`, said)));
  });
  const columns = column_labels.map((label) => make("th", { scope: "col" }, make("span", {}, isolate(label))));
  const head = make("tr", {}, make("th", {}, ""), ...columns);
  const table = make("table", { class: "grid", "aria-label": unit }, make("thead", {}, head), make("tbody", {}, ...cells));
  return make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": unit }, table, said);
}

function makeCell(value, largest, text, said) {
  const cell = make("td", { class: value < 0 ? "negative" : null, title: text, onpointerenter: () => (said.textContent = text) });
  cell.style.setProperty("--share", Math.min(1, Math.abs(value ?? 0) / largest));
  return cell;
}
