"use strict";
// Plots from the page's data. Colours: Okabe and Ito, told apart by colour-blind readers; lines
// differ in their dashes, too.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const SAME = "#0072b2", DIFFERENT = "#d55e00", INK = "#1f2933", GRID = "#e4e7eb", FAINT = "#7b8794";
const PERCENT = ",.0%";
const TOUCH = matchMedia("(pointer: coarse)").matches;

function short(name, length = 32) {
  return name.length <= length ? name : `${name.slice(0, length / 2)}…${name.slice(-length / 2)}`;
}

// Plotly reads a few HTML tags in texts: names from outside are shown as they are.
function plain(name) {
  return short(name).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function axis(title, more = {}) {
  return { title: { text: title }, gridcolor: GRID, zeroline: false, linecolor: "#9aa5b1",
           automargin: true, ...more };
}

function layout(title, x, y, more = {}) {
  return {
    title: { text: title, x: 0, xanchor: "left", font: { size: 16 } },
    font: { family: "system-ui, Segoe UI, Roboto, DejaVu Sans, sans-serif", size: 13, color: INK },
    margin: { l: 60, r: 14, t: 44, b: 50 }, dragmode: TOUCH ? false : "zoom",
    legend: { orientation: "h", x: 0, y: -0.22, yanchor: "top" },
    xaxis: x, yaxis: y, ...more,
  };
}

function draw(id, traces, format) {
  return Plotly.react(id, traces, format, { responsive: true, displaylogo: false,
                                            displayModeBar: TOUCH ? false : "hover" });
}

function line(index, name) {
  return { mode: "lines", name: plain(name), hoverlabel: { namelength: -1 },
           line: { color: COLOURS[index % COLOURS.length], dash: DASHES[index % DASHES.length],
                   width: 2.2 } };
}

function drawRoc(models, results, set, dot) {
  const floor = 0.5 / set.different;
  const traces = results.map((result, index) => ({
    ...line(index, models[index].name),
    x: Array.from(result.different, (count) => Math.max(count / set.different, floor)).concat(floor),
    y: Array.from(result.same, (count) => count / set.same).concat(0),
    hovertemplate: "FAR %{x:.3%}, TAR %{y:.2%}",
  }));
  for (const trace of traces) trace.line.shape = "vh";
  const chance = Array.from({ length: 60 }, (_, k) => floor ** (1 - k / 59));
  traces.push({ x: chance, y: chance, mode: "lines", name: "chance", hoverinfo: "skip",
                line: { color: FAINT, width: 1.2, dash: "dot" } });
  traces.push({ x: [Math.max(dot.far, floor)], y: [dot.tar], mode: "markers", name: "threshold",
                marker: { size: 11, color: INK, symbol: "circle-open", line: { width: 2.5 } },
                hovertemplate: "threshold: FAR %{x:.3%}, TAR %{y:.2%}<extra></extra>" });
  const decades = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1].filter((far) => far >= floor);
  return draw("roc", traces, layout("ROC",
    axis("false accept rate (different pairs accepted)", { type: "log",
      range: [Math.log10(floor), 0.02], tickvals: decades,
      ticktext: decades.map((far) => `${+(100 * far).toPrecision(1)}%`) }),
    axis("true accept rate (same pairs accepted)", { range: [0, 1.02], tickformat: PERCENT })));
}

function moveDot(models, set, dot) {
  const floor = 0.5 / set.different;
  Plotly.restyle("roc", { x: [[Math.max(dot.far, floor)]], y: [[dot.tar]] }, [models.length + 1]);
}

function thresholdLine(threshold) {
  return [{ type: "line", x0: threshold, x1: threshold, y0: 0, y1: 1, yref: "paper",
            line: { color: INK, width: 1.6, dash: "dash" } }];
}

function drawHistogram(histogram, set, threshold) {
  const edges = histogram.edges, width = edges[1] - edges[0];
  const centres = edges.slice(1).map((edge, k) => (edge + edges[k]) / 2);
  const bars = (kind, name, colour, pattern) => ({
    type: "bar", name, x: centres, width, opacity: 0.62,
    y: histogram[kind].map((count) => count / set[kind]),
    marker: { color: colour, pattern: { shape: pattern, size: 5, solidity: 0.25 } },
    hovertemplate: "score %{x:.3f}: %{y:.2%}",
  });
  return draw("histogram", [
    bars("different", `different people (${set.different.toLocaleString("en")} pairs)`, DIFFERENT, "/"),
    bars("same", `same person (${set.same.toLocaleString("en")} pairs)`, SAME, ""),
  ], layout("Scores", axis("score (cosine of the two embeddings)"),
    axis("share of the pairs of its kind", { tickformat: PERCENT, rangemode: "tozero" }),
    { barmode: "overlay", bargap: 0, shapes: thresholdLine(threshold) }));
}

function moveThresholdLine(threshold) {
  Plotly.relayout("histogram", { shapes: thresholdLine(threshold) });
}

function drawTraining(models) {
  const trained = models.map((model, index) => ({ ...model, index })).filter((m) => m.training);
  const note = document.getElementById("training-note");
  if (!trained.length) {
    note.textContent = "None of the models is a run folder, so there are no training curves.";
    return;
  }
  const without = models.filter((model) => !model.training).map((model) => model.name);
  note.textContent = without.length ? `Without training curves: ${without.join(", ")}.` : "";
  for (const [key, title, x, unit, more] of [
    ["loss", "Training loss", "step", "loss (nats)", { rangemode: "tozero" }],
    ["accuracy", "Verification while training", "checked", "accuracy", { tickformat: ",.1%" }],
    ["lr", "Learning rate", "step", "learning rate", { rangemode: "tozero" }],
  ]) {
    const shown = trained.filter((model) => model.training[key].length);
    if (!shown.length) continue;
    const chart = document.createElement("div");
    chart.id = `training-${key}`;
    chart.className = "chart";
    document.getElementById("training").append(chart);
    const traces = shown.map((model) => ({ ...line(model.index, model.name), mode: "lines+markers",
      marker: { size: 5 }, x: model.training[x], y: model.training[key], showlegend: true }));
    draw(chart.id, traces, layout(title, axis("training step"), axis(unit, more)));
  }
}
