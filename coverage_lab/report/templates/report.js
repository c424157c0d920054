"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const page = JSON.parse(byId("page-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const coarsePointer = window.matchMedia("(pointer: coarse)").matches;
  let printing = false;

  const say = (text) => { byId("said").textContent = text; };

  // Colour roles -> colours of the theme that the reader sees; paper is always light.
  const themed = (value) => {
    if (typeof value === "string" && value.startsWith("var(--")) {
      return page.palette[dark.matches && !printing ? "dark" : "light"][value.slice(6, -1)];
    }
    if (Array.isArray(value)) {
      return typeof value[0] === "number" ? value : value.map(themed);
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, themed(part)]));
    }
    return value;
  };

  const accountData = new Map();
  const growthOf = (anchor) => {
    if (!accountData.has(anchor)) {
      accountData.set(anchor, JSON.parse(byId(`data-${anchor}`).textContent));
    }
    return accountData.get(anchor);
  };

  const specs = {
    overview: () => {
      const spec = themed(page.overview);
      // A dragging finger scrolls the page; a mouse draws a zoom box.
      if (!coarsePointer) {
        spec.layout.dragmode = "zoom";
        spec.layout.xaxis.fixedrange = false;
        spec.layout.yaxis.fixedrange = false;
      }
      return spec;
    },
    growth: (plot) => {
      const spec = themed(growthOf(plot.dataset.account)[plot.dataset.level]);
      if (plot.closest(".case").classList.contains("log-axes")) {
        spec.layout.xaxis.type = "log";
        spec.layout.yaxis.type = "log";
        spec.layout.xaxis.dtick = 1;
        spec.layout.yaxis.dtick = 1;
      }
      return spec;
    },
    score: (plot) => {
      const spec = themed(page.scores[plot.dataset.atlas]);
      const score = Number(plot.dataset.score);
      spec.layout.shapes = [{
        type: "line", yref: "paper", x0: score, x1: score, y0: 0, y1: 1,
        line: { color: themed("var(--review)"), width: 2.5 },
      }];
      spec.layout.annotations = [{
        x: score, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, text: "<b>this account</b>",
        xanchor: score > 0.85 ? "right" : score < 0.15 ? "left" : "center",
        font: { color: themed("var(--review)"), size: 12 },
      }];
      return spec;
    },
  };

  const draw = (plot) => {
    const spec = specs[plot.dataset.plot](plot);
    const first = !plot.dataset.drawn;
    plot.dataset.drawn = "yes";
    Plotly.react(plot, spec.data, spec.layout, { displayModeBar: false, responsive: true });
    if (first && plot.id === "overview") {
      plot.on("plotly_click", (event) => choose(event.points[0]));
    }
  };
  const redraw = (root = document) => all(".plot[data-drawn]", root).forEach(draw);

  // What is in a closed section never meets the viewport, so nothing there costs time before it is opened.
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !target.dataset.drawn) draw(target);
    }
  }, { rootMargin: "400px 0px" });
  all(".plot").forEach((plot) => watcher.observe(plot));

  dark.addEventListener("change", () => redraw());
  window.addEventListener("beforeprint", () => {
    printing = true;
    all("details[open] .plot, #overview").forEach(draw);
  });
  window.addEventListener("afterprint", () => { printing = false; redraw(); });

  const open = (anchor) => {
    const section = anchor && byId(anchor);
    if (!section || section.tagName !== "DETAILS") return false;
    section.open = true;
    section.scrollIntoView({ block: "start" });
    section.querySelector("summary").focus({ preventScroll: true });
    return true;
  };
  const openFromAddress = () => open(window.location.hash.slice(1));
  window.addEventListener("hashchange", openFromAddress);
  all("#flags a").forEach((link) => link.addEventListener("click", (event) => {
    const anchor = link.getAttribute("href").slice(1);
    if (window.location.hash.slice(1) === anchor) {
      event.preventDefault();
      open(anchor);
    }
  }));

  const decoded = (text) => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
  const choose = (point) => {
    const [anchor, p] = point.customdata;
    if (anchor) {
      if (window.location.hash === `#${anchor}`) open(anchor);
      else window.location.hash = anchor;
      return;
    }
    byId("chosen").textContent = `${decoded(point.text)}: ${point.data.name}, ${point.x.toLocaleString("en")}`
      + ` prompts, score ${point.y.toFixed(3)}, p-value ${p}. It has no section on this page;`
      + " coverage-lab explain shows it.";
  };

  const openAll = byId("open-all");
  if (openAll) {
    openAll.addEventListener("click", () => {
      const opening = openAll.getAttribute("aria-pressed") !== "true";
      openAll.setAttribute("aria-pressed", String(opening));
      openAll.textContent = opening ? "Close all" : "Open all";
      all(".case").forEach((section) => { section.open = opening; });
    });
  }

  all("button.log").forEach((button) => button.addEventListener("click", () => {
    const section = button.closest(".case");
    button.setAttribute("aria-pressed", String(section.classList.toggle("log-axes")));
    redraw(section.querySelector(".growth"));
  }));

  const table = byId("flags");
  if (table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const filter = byId("filter");
    const narrow = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let kept = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        kept += row.hidden ? 0 : 1;
      }
      byId("filter-count").textContent = words.length ? `${kept} of ${rows.length} accounts` : "";
    };
    filter.addEventListener("input", narrow);

    const collator = new Intl.Collator("en", { numeric: true });
    const sortBy = (key, direction) => {
      const keyed = rows.map((row, index) => {
        const cell = row.querySelector(`.col-${key}`);
        const text = cell.dataset.value;
        return { row, index, empty: text === "", value: "number" in cell.dataset ? Number(text) : text };
      });
      keyed.sort((a, b) => {
        // What is not known stays last in both directions.
        if (a.empty !== b.empty) return a.empty ? 1 : -1;
        const order = typeof a.value === "number" ? a.value - b.value : collator.compare(a.value, b.value);
        return order * direction || a.index - b.index;
      });
      body.append(...keyed.map((entry) => entry.row));
    };
    const headers = all("thead button", table);
    headers.forEach((button) => button.addEventListener("click", () => {
      const header = button.closest("th");
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach((other) => other.closest("th").removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortBy(button.dataset.key, ascending ? 1 : -1);
      say(`Sorted by ${button.textContent}, ${ascending ? "ascending" : "descending"}`);
    }));
  }

  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Some browsers keep the clipboard from pages that are opened as files.
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      return done;
    }
  };
  all("button.copy").forEach((button) => button.addEventListener("click", async () => {
    const before = button.textContent;
    // As JSON, because an attribute can't hold every character of an id.
    const done = await copied(JSON.parse(button.dataset.copy));
    button.textContent = done ? "copied" : "can’t copy";
    say(button.textContent);
    button.focus();
    setTimeout(() => { button.textContent = before; }, 1500);
  }));

  openFromAddress();
})();
