// The threshold: the slider's steps are edges, so that each step takes the weakest one away.

import { byId, formatNumber } from "./elements.js";
import { countOnes } from "./prune.js";

export function makeSlider({ data, state, settle }) {
  const slider = byId("threshold");
  const number = byId("threshold-number");
  slider.max = String(Math.max(0, data.strengths.length - 1));
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

export function showCounts({ data, state }) {
  const kept = countOnes(state.kept);
  const loose = state.nLoose ? `; ${state.nLoose} on no path` : "";
  byId("counts").textContent = `${kept} of ${data.edges.length} edges, ${data.nShown} nodes${loose}`;
  byId("show-hidden").hidden = state.hidden.size === 0;
}
