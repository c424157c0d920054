"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const page = JSON.parse(byId("page-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const [map, time, picker, state, play] = ["map", "time", "account", "state", "play"].map(byId);
  const percent = (millionths) => `${(millionths / 1e4).toPrecision(2)}%`;
  const height = Math.max(...page.rows) + 1;
  const width = Math.max(...page.columns) + 1;
  const label = (cell) => page.starts[page.start[cell]] + page.rests[cell];
  let timer = null;

  const chosen = () => page.accounts[Number(picker.value)];
  const tile = () => Math.max(2, Math.floor((map.clientWidth - 8) / (Math.max(width, height) + 2.4)));

  // A tile's colour says which prompt reached it first.
  const colours = (account) => account.first.map((first) =>
    page.scale[Math.min(page.scale.length - 1, Math.floor((page.scale.length * first) / (account.prompts + 1)))]);
  const reached = (account, now) => {
    let low = 0, high = account.first.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (account.first[middle] <= now) low = middle + 1; else high = middle;
    }
    return low;
  };

  const say = (account, now, count) => {
    const usual = account.cells.slice(0, count).reduce((sum, cell) => sum + page.mass[cell], 0);
    state.textContent = `After ${now.toLocaleString("en")} of ${account.prompts.toLocaleString("en")} prompts: `
      + `${count.toLocaleString("en")} of ${page.rows.length.toLocaleString("en")} tiles, where ${percent(usual)}`
      + " of ordinary traffic goes";
  };

  const move = () => {
    const account = chosen(), now = Number(time.value), count = reached(account, now);
    Plotly.restyle(map, {
      x: [account.cells.slice(0, count).map((cell) => page.columns[cell])],
      y: [account.cells.slice(0, count).map((cell) => page.rows[cell])],
      text: [account.cells.slice(0, count).map((cell, at) =>
        `${label(cell)}<br>first at prompt ${account.first[at].toLocaleString("en")}, `
        + `${account.visits[at].toLocaleString("en")} in all`)],
      "marker.color": [colours(account).slice(0, count)],
    }, [1]);
    say(account, now, count);
  };

  const draw = () => {
    const theme = dark.matches ? "dark" : "light";
    const [low, high] = page.greys[theme];
    const ink = page.colours[theme].ink, surface = page.colours[theme].background;
    const plain = { type: "scatter", mode: "markers", hovertemplate: "%{text}<extra></extra>" };
    const marker = { symbol: "square", size: tile(), line: { width: 0 } };
    const axis = { visible: false, fixedrange: true };
    Plotly.react(map, [
      { ...plain, x: page.columns, y: page.rows,
        text: page.rests.map((_, cell) => `${label(cell)}<br>${percent(page.mass[cell])} of ordinary traffic`),
        marker: { ...marker, color: page.usual, colorscale: [[0, low], [1, high]], cmin: 0, cmax: 100 } },
      { ...plain, x: [], y: [], text: [], marker: { ...marker, color: [] } },
      { type: "scatter", mode: "text", x: page.regions.map((region) => region[2]),
        y: page.regions.map((region) => region[1]), hoverinfo: "skip",
        text: page.regions.map((region) => region[0].replace(", ", "<br>")),
        textfont: { size: 10, color: ink, shadow: `0 0 3px ${surface}, 0 0 2px ${surface}, 0 0 5px ${surface}` } },
    ], {
      height: map.clientWidth * height / width, margin: { l: 4, r: 4, t: 4, b: 4 }, showlegend: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: { ...axis, range: [-1.7, width + 0.7] }, yaxis: { ...axis, range: [height + 0.7, -1.7] },
      hoverlabel: { align: "left" }, dragmode: false,
    }, { displayModeBar: false });
    move();
  };

  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  const start = () => {
    if (Number(time.value) >= chosen().prompts) time.value = 1;
    play.textContent = "Stop";
    timer = setInterval(() => {
      const account = chosen();
      time.value = Math.min(account.prompts, Number(time.value) + Math.max(1, Math.round(account.prompts / 60)));
      move();
      if (Number(time.value) >= account.prompts) stop();
    }, 120);
  };
  const choose = () => {
    stop();
    time.max = chosen().prompts;
    time.value = chosen().prompts;
    move();
  };

  play.addEventListener("click", () => (timer ? stop() : start()));
  time.addEventListener("input", () => { stop(); move(); });
  picker.addEventListener("change", choose);
  dark.addEventListener("change", draw);
  window.addEventListener("resize", draw);
  time.max = chosen().prompts;
  time.value = chosen().prompts;
  draw();
})();
