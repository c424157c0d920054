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
      const data = JSON.parse(byId(`data-${anchor}`).textContent);
      let now = 0;
      if (data.way) data.way.prompt = data.way.prompt.map((since) => { now += since; return now; });
      for (const spec of Object.values(data)) {
        for (const trace of spec?.data ?? []) {
          trace.x = trace.x === "band" ? [...spec.grid, ...[...spec.grid].reverse()] : spec.grid;
        }
      }
      accountData.set(anchor, data);
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

  // The map of an atlas, with the way of one account over it up to the prompt of the slider.
  const mapOf = (plot) => page.maps[plot.dataset.atlas];
  const nameOf = (map, cell) => {
    const at = map.named.indexOf(cell);
    return map.starts[map.start[at]] + map.rests[at];
  };
  const reachedBy = (way, prompt) => {
    const beyond = way.prompt.findIndex((first) => first > prompt);
    return beyond < 0 ? way.cell.length : beyond;
  };
  const drawMap = (plot) => {
    const map = mapOf(plot), way = growthOf(plot.dataset.account).way;
    const canvas = plot.querySelector("canvas"), slider = plot.querySelector("input");
    const columns = Math.max(...map.columns) + 1, lines = Math.max(...map.rows) + 1;
    const tile = Math.max(3, Math.floor(Math.min(plot.clientWidth, 640) / columns));
    const ratio = window.devicePixelRatio || 1;
    canvas.width = tile * columns * ratio;
    canvas.height = tile * lines * ratio;
    canvas.style.width = `${tile * columns}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const gap = tile > 5 ? 1 : 0;
    const fill = (cell, colour) => {
      pen.fillStyle = colour;
      pen.fillRect(map.columns[cell] * tile, map.rows[cell] * tile, tile - gap, tile - gap);
    };
    const [low, high] = map.greys[dark.matches && !printing ? "dark" : "light"].map((colour) =>
      [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
    map.usual.forEach((share, cell) => {
      fill(cell, `rgb(${low.map((from, at) => Math.round(from + ((high[at] - from) * share) / 100)).join(",")})`);
    });
    const prompts = Number(plot.dataset.prompts), now = Number(slider.value), count = reachedBy(way, now);
    for (let at = 0; at < count; at += 1) {
      const step = Math.floor((map.scale.length * way.prompt[at]) / (prompts + 1));
      fill(way.cell[at], map.scale[step]);
    }
    pen.font = "10px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineWidth = 3;
    pen.lineJoin = "round";
    pen.strokeStyle = themed("var(--surface)");
    pen.fillStyle = themed("var(--ink)");
    const taken = [];
    for (const [name, row, column] of map.regions) {
      const words = name.split(" "), half = Math.ceil(words.length / 2);
      const parts = name.length > 14 ? [words.slice(0, half).join(" "), words.slice(half).join(" ")] : [name];
      const wide = Math.max(...parts.map((part) => pen.measureText(part).width)) / 2 + 2;
      const high = 6 * parts.length;
      const x = Math.min(Math.max((column + 0.5) * tile, wide), tile * columns - wide);
      const y = Math.min(Math.max((row + 0.5) * tile, high), tile * lines - high);
      // The largest topics come first; a name that would lie on another is left out.
      if (taken.some((box) => Math.abs(box.x - x) < box.wide + wide && Math.abs(box.y - y) < box.high + high)) continue;
      taken.push({ x, y, wide, high });
      parts.forEach((part, at, { length }) => {
        const line = y + (at - (length - 1) / 2) * 11;
        pen.strokeText(part, x, line);
        pen.fillText(part, x, line);
      });
    }
    const usual = way.cell.slice(0, count).reduce((sum, cell) => sum + map.mass[cell], 0);
    plot.querySelector(".state").textContent = `After ${now.toLocaleString("en")} of `
      + `${prompts.toLocaleString("en")} prompts: ${count.toLocaleString("en")} of `
      + `${map.rows.length.toLocaleString("en")} tiles, where ${(usual / 1e4).toPrecision(2)}% of ordinary`
      + " traffic goes. Point at a coloured tile to read its name.";
    if (!plot.dataset.drawn) {
      slider.addEventListener("input", () => drawMap(plot));
      canvas.addEventListener("mousemove", (event) => point(plot, event));
    }
    plot.dataset.drawn = "yes";
  };
  const point = (plot, event) => {
    const map = mapOf(plot), way = growthOf(plot.dataset.account).way;
    const canvas = plot.querySelector("canvas"), slider = plot.querySelector("input");
    const tile = canvas.clientWidth / (Math.max(...map.columns) + 1);
    const column = Math.floor(event.offsetX / tile), row = Math.floor(event.offsetY / tile);
    const at = way.cell.findIndex((cell) => map.columns[cell] === column && map.rows[cell] === row);
    if (at < 0 || way.prompt[at] > Number(slider.value)) return;
    plot.querySelector(".state").textContent = `${nameOf(map, way.cell[at])}: first at prompt `
      + `${way.prompt[at].toLocaleString("en")}, ${way.prompts[at].toLocaleString("en")} in all`;
  };

  const draw = (plot) => {
    if (plot.dataset.plot === "map") {
      drawMap(plot);
      return;
    }
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
