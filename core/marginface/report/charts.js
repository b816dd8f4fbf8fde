"use strict";
// Plots from the page's data. Colours: Okabe and Ito, told apart by colour-blind readers; lines
// differ in their dashes, too.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const SAME = "#0072b2", DIFFERENT = "#d55e00", INK = "#1f2933", GRID = "#e4e7eb", FAINT = "#7b8794";
const PERCENT = ",.0%";
const TOUCH = matchMedia("(pointer: coarse)").matches;

// Plotly reads a few HTML tags in texts: names from outside are shown as they are.
function plain(name) {
  return name.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function axis(title, more = {}) {
  return { title: { text: title, standoff: 8 }, gridcolor: GRID, zeroline: false,
           linecolor: "#9aa5b1", automargin: true, ...more };
}

function draw(id, traces, x, y, more = {}) {
  const layout = {
    font: { family: "system-ui, Segoe UI, Roboto, DejaVu Sans, sans-serif", size: 13, color: INK },
    margin: { l: 20, r: 14, t: 12, b: 20 }, dragmode: TOUCH ? false : "zoom", showlegend: false,
    xaxis: x, yaxis: y, ...more,
  };
  return Plotly.react(id, traces, layout, { responsive: true, displayModeBar: false });
}

function style(index) {
  return { color: COLOURS[index % COLOURS.length], dash: DASHES[index % DASHES.length] };
}

function modelLine(index, name) {
  return { mode: "lines", name: plain(name), hoverlabel: { namelength: 40 },
           line: { ...style(index), width: 2.2 } };
}

// One legend for several plots, as text that wraps: items are { name, color, dash or fill }.
function drawLegend(id, items) {
  document.getElementById(id).replaceChildren(...items.map((item) => {
    const entry = document.createElement("li"), sample = document.createElement("span");
    sample.className = item.fill ? "swatch" : `stroke ${item.dash}`;
    sample.style.color = item.color;
    entry.append(sample, item.name);
    return entry;
  }));
}

// The points of a ROC without those that lie on a straight line between their neighbours.
function corners({ same, different }) {
  const straight = (counts, k) => counts[k - 1] === counts[k] && counts[k] === counts[k + 1];
  return [...same.keys()].filter((k) => !straight(same, k) && !straight(different, k));
}

function drawRoc(models, results, set, dot) {
  const floor = 0.5 / set.different;
  const traces = results.map((result, index) => {
    const bends = corners(result);
    return { ...modelLine(index, models[index].name),
      x: [...bends.map((k) => Math.max(result.different[k] / set.different, floor)), floor],
      y: [...bends.map((k) => result.same[k] / set.same), 0],
      hovertemplate: "FAR %{x:.3%}, TAR %{y:.2%}" };
  });
  for (const trace of traces) trace.line.shape = "vh";
  const chance = Array.from({ length: 60 }, (_, k) => floor ** (1 - k / 59));
  traces.push({ x: chance, y: chance, mode: "lines", name: "chance", hoverinfo: "skip",
                line: { color: FAINT, width: 1.2, dash: "dot" } });
  traces.push({ x: [Math.max(dot.far, floor)], y: [dot.tar], mode: "markers", name: "threshold",
                cliponaxis: false, marker: { size: 11, color: INK, symbol: "circle-open", line: { width: 2.5 } },
                hovertemplate: "threshold: FAR %{x:.3%}, TAR %{y:.2%}<extra></extra>" });
  const decades = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1].filter((far) => far >= floor);
  return draw("roc", traces, axis("false accept rate", { type: "log",
      range: [Math.log10(floor), 0.02], tickvals: decades,
      ticktext: decades.map((far) => `${+(100 * far).toPrecision(1)}%`) }),
    axis("true accept rate", { range: [0, 1.02], tickformat: PERCENT }));
}

// A model whose embeddings all have one norm has no curve.
function drawReject(models, results) {
  const without = models.filter((_, index) => !results[index].reject).map(({ name }) => name);
  const none = without.length === models.length;
  for (const id of ["reject", "reject-caption"]) document.getElementById(id).hidden = none;
  document.getElementById("reject-note").textContent = !without.length ? ""
    : ` No curve for ${without.join(", ")}: embeddings of one norm tell nothing of quality.`;
  if (none) return;
  const traces = results.map(({ reject }, index) => reject && { ...modelLine(index, models[index].name),
    x: reject.share, y: reject.fnmr, hovertemplate: "%{x:.0%} rejected: FNMR %{y:.2%}" });
  draw("reject", traces.filter(Boolean), axis("share of images rejected", { tickformat: PERCENT }),
    axis("false non-match rate", { tickformat: ",.1~%", rangemode: "tozero" }));
}

// Whether names tell identities is the set's matter: all models have a CMC, or none has.
function drawCmc(models, results) {
  const chart = document.getElementById("cmc"), { cmc } = results[0];
  chart.hidden = !cmc;
  document.getElementById("cmc-note").textContent = cmc
    ? `Share of ${cmc.probes.toLocaleString("en")} probes whose person is among the first of ${cmc.subjects.toLocaleString("en")} in the gallery. Gallery: each person's first image; probes: all others.`
    : "Left out: the names of this set's images do not tell who is who, or nobody has two images.";
  if (!cmc) return;
  const traces = results.map((result, index) => ({ ...modelLine(index, models[index].name),
    x: result.cmc.rate.map((_, k) => k + 1), y: result.cmc.rate,
    hovertemplate: "rank %{x}: %{y:.2%}" }));
  const least = Math.min(...results.map((result) => result.cmc.rate[0]));
  draw("cmc", traces, axis("rank", { type: "log", tickvals: [1, 2, 5, 10, 20, 50, 100] }),
    axis("identification rate", { tickformat: PERCENT, range: [least > 0.9 ? 0.9 : 0, 1.01] }));
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
  drawLegend("histogram-legend", [
    { name: `same person, ${set.same.toLocaleString("en")} pairs`, color: SAME, fill: true },
    { name: `two people, ${set.different.toLocaleString("en")} pairs`, color: DIFFERENT, fill: true },
  ]);
  return draw("histogram",
    [bars("different", "two people", DIFFERENT, "/"), bars("same", "same person", SAME, "")],
    axis("score (cosine)"),
    axis("share of the pairs of a kind", { tickformat: PERCENT, rangemode: "tozero" }),
    { barmode: "overlay", bargap: 0, shapes: thresholdLine(threshold) });
}

function moveThresholdLine(threshold) {
  Plotly.relayout("histogram", { shapes: thresholdLine(threshold) });
}

function drawTraining(models) {
  const trained = models.map((model, index) => ({ ...model, index })).filter((m) => m.training);
  const note = document.getElementById("training-note");
  if (!trained.length) {
    note.textContent = "No training curves: none of the models is a run that has recorded metrics.";
    return;
  }
  const without = models.filter((model) => !model.training).map((model) => model.name);
  const said = trained.filter((model) => model.about).map(({ name, about }) => `${name}: ${about}.`);
  if (without.length) said.push(`Without training curves: ${without.join(", ")}.`);
  note.textContent = said.join(" ");
  drawLegend("training-legend", trained.map(({ name, index }) => ({ name, ...style(index) })));
  const least = Math.min(1, ...trained.flatMap((model) => model.training.accuracy));
  const charts = [
    ["loss", "Training loss", "step", "loss", { rangemode: "tozero" }],
    ["accuracy", "Verification while training", "checked", "accuracy",
     { range: [Math.floor(20 * least) / 20 - 0.02, 1.01], tickformat: PERCENT }],
    ["batch_accuracy", "Accuracy of training batches", "step", "accuracy",
     { range: [-0.02, 1.02], tickformat: PERCENT }],
    ["target_angle", "Mean angle to the own class", "step", "radians", { rangemode: "tozero" }],
    ["lr", "Learning rate", "step", "learning rate", { rangemode: "tozero" }],
  ].filter(([key]) => trained.some((model) => model.training[key].some((y) => y !== null)));
  document.getElementById("training").replaceChildren(...charts.map(([key, title]) => {
    const figure = document.createElement("figure"), chart = document.createElement("div");
    const heading = document.createElement("h3");
    heading.textContent = title;
    chart.id = `training-${key}`;
    chart.className = "chart";
    figure.append(heading, chart);
    return figure;
  }));
  for (const [key, , x, unit, more] of charts) {
    const traces = trained.map((model) => ({ ...modelLine(model.index, model.name),
      mode: "lines+markers", marker: { size: 5 }, x: model.training[x], y: model.training[key] }));
    draw(`training-${key}`, traces, axis("step", { rangemode: "tozero" }), axis(unit, more));
  }
}
