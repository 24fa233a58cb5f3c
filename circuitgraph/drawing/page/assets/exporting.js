// The picture as a file: SVG with all its styles inside, or PNG.

import { announce, byId, makeSvg } from "./elements.js";

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "opacity", "font-family", "font-size", "font-weight", "text-anchor"];
const MARGIN = 20;
const SCALE = 2; // pixels of a PNG for each unit of the picture
const MOST = 8000; // pixels on a side

// A copy that needs no style sheet; what is hidden is left out.
export function copyPicture() {
  const svg = byId("picture");
  const copy = svg.cloneNode(true);
  const originals = svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((element, number) => setStyles(element, originals[number]));
  for (const element of copy.querySelectorAll("[data-gone]")) element.remove();
  const { x, y, width, height } = svg.getBBox();
  const box = [x - MARGIN, y - MARGIN, width + 2 * MARGIN, height + 2 * MARGIN];
  for (const name of ["id", "class", "tabindex", "role"]) copy.removeAttribute(name);
  copy.setAttribute("viewBox", box.join(" "));
  copy.setAttribute("width", box[2]);
  copy.setAttribute("height", box[3]);
  const paper = getComputedStyle(document.body).backgroundColor;
  copy.prepend(makeSvg("rect", { x: box[0], y: box[1], width: box[2], height: box[3], fill: paper }));
  return { copy, width: box[2], height: box[3] };
}

function setStyles(element, original) {
  const style = getComputedStyle(original);
  if (style.display === "none") return element.setAttribute("data-gone", "");
  for (const name of STYLES) {
    const value = style.getPropertyValue(name);
    if (value) element.setAttribute(name, value);
  }
  for (const name of ["style", "class", "tabindex", "role", "data-shape", "data-bundle"]) element.removeAttribute(name);
}

export function makeSvgText() {
  const { copy, width, height } = copyPicture();
  return { text: new XMLSerializer().serializeToString(copy), width, height };
}

export function saveSvg(name) {
  save(new Blob([makeSvgText().text], { type: "image/svg+xml" }), `${name}.svg`);
}

export async function makePng() {
  const { text, width, height } = makeSvgText();
  const address = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = address;
    await image.decode();
    const scale = Math.min(SCALE, MOST / width, MOST / height);
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(width * scale), height: Math.round(height * scale) });
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  } finally {
    URL.revokeObjectURL(address);
  }
}

export async function savePng(name) {
  save(await makePng(), `${name}.png`);
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  announce(`Saved ${name}.`);
}
