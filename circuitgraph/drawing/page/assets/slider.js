// The threshold: the slider's steps are edges, so that each step takes the weakest one away.

import { byId, formatNumber } from "./elements.js";
import { countOnes, keepPaths } from "./prune.js";

export function makeSlider({ data, state, settle }) {
  const slider = byId("threshold");
  const number = byId("threshold-number");
  slider.max = String(findLastStep(data));
  if (state.threshold) {
    slider.value = String(data.strengths.indexOf(state.threshold));
    number.value = formatNumber(state.threshold);
  }
  slider.disabled = data.strengths.length === 0;
  number.disabled = slider.disabled;
  let waits = false;
  const setThreshold = (value) => {
    state.threshold = value;
    state.tell("edges");
  };
  slider.addEventListener("input", () => {
    byId("picture").classList.add("moving");
    if (waits) return; // one change for each picture, however fast the pointer is
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      const step = Number(slider.value);
      setThreshold(step === 0 ? 0 : data.strengths[step]);
      number.value = step === 0 ? "" : formatNumber(state.threshold);
    });
  });
  slider.addEventListener("change", () => requestAnimationFrame(() => {
    byId("picture").classList.remove("moving");
    settle();
  }));
  number.addEventListener("change", () => {
    const wanted = Math.max(0, Number(number.value) || 0);
    const step = data.strengths.findIndex((strength) => strength >= wanted);
    slider.value = String(step < 0 ? data.strengths.length - 1 : step);
    setThreshold(wanted);
    settle();
  });
}

// The last step that leaves a path: beyond it the picture would be empty.
function findLastStep(data) {
  let [low, high] = [0, Math.max(0, data.strengths.length - 1)];
  const leavesPath = (step) => countOnes(keepPaths(data, Uint8Array.from(data.edges, (edge) => (edge.strength >= data.strengths[step] ? 1 : 0)))) > 0;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (leavesPath(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

export function showCounts({ data, state }) {
  const kept = countOnes(state.kept);
  const loose = state.nLoose ? `; ${state.nLoose} on no path` : "";
  byId("counts").textContent = `${kept} of ${data.edges.length} edges, ${data.nShown} nodes${loose}`;
  byId("show-hidden").hidden = state.hidden.size === 0;
}
