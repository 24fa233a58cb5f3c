// Behind Viz.js in a worker: DOT text comes, a layout as JSON goes.
self.onmessage = async ({ data }) => {
  try {
    const viz = await Viz.instance();
    const result = viz.render(data, { format: "json", yInvert: true });
    const reasons = result.errors.map((error) => error.message).join("; ");
    self.postMessage(result.status === "success" ? { output: result.output } : { error: reasons || "no layout" });
  } catch (error) {
    self.postMessage({ error: String(error && error.message ? error.message : error) });
  }
};
