"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;

  // Colour roles -> colours of the theme that the reader sees; paper is always light.
  const themed = (value) => {
    if (typeof value === "string" && value.startsWith("var(--")) {
      return page.palette[dark.matches && !printing ? "dark" : "light"][value.slice(6, -1)];
    }
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, themed(part)]));
    }
    return value;
  };

  const plots = [...document.querySelectorAll(".plot")];
  const draw = (plot) => {
    const spec = themed(page.plots[plot.dataset.plot]);
    Plotly.react(plot, spec.data, spec.layout, { displayModeBar: false, responsive: true });
  };
  plots.forEach(draw);

  dark.addEventListener("change", () => plots.forEach(draw));
  window.addEventListener("beforeprint", () => { printing = true; plots.forEach(draw); });
  window.addEventListener("afterprint", () => { printing = false; plots.forEach(draw); });
})();
