// What is chosen, and what follows from it.
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const chosen = { set: 0, model: 0, threshold: 0 };

function decoded(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

for (const result of data.results.flat()) {
  result.thresholds = decoded(result.counts.thresholds, Float64Array);
  result.same = decoded(result.counts.same, Uint32Array);
  result.different = decoded(result.counts.different, Uint32Array);
}

const theSet = () => data.sets[chosen.set];
const theResult = () => data.results[chosen.model][chosen.set];
const whole = (count) => count.toLocaleString("en");

// As Python rounds: what lies exactly between (.125, .625) goes to the even digit.
function percent(share) {
  const value = 100 * share;
  return `${((8 * value) % 4 === 1 ? value - 0.001 : value).toFixed(2)}%`;
}

// The pairs of each kind with score >= threshold: those of the lowest kept score that is.
function accepted(result, threshold) {
  let low = 0, high = result.thresholds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (result.thresholds[middle] < threshold) low = middle + 1; else high = middle;
  }
  const none = low === result.thresholds.length;
  return { same: none ? 0 : result.same[low], different: none ? 0 : result.different[low] };
}

function operatingPoint() {
  const counts = accepted(theResult(), chosen.threshold), set = theSet();
  return { far: counts.different / set.different, tar: counts.same / set.same, ...counts };
}

function showCounts() {
  const set = theSet(), point = operatingPoint();
  const falseAccepts = point.different, falseRejects = set.same - point.same;
  const right = point.same + set.different - point.different;
  element("threshold-value").textContent = chosen.threshold.toFixed(4);
  element("accuracy").textContent = percent(right / (set.same + set.different));
  element("false-accepts").textContent = `${whole(falseAccepts)} of ${whole(set.different)} (${percent(point.far)})`;
  element("false-rejects").textContent = `${whole(falseRejects)} of ${whole(set.same)} (${percent(falseRejects / set.same)})`;
  showGallery("accepts", falseAccepts, (pair) => pair.score >= chosen.threshold, "highest");
  showGallery("rejects", falseRejects, (pair) => pair.score < chosen.threshold, "lowest");
}

function showGallery(kind, count, wrong, extreme) {
  const pairs = theResult().hardest[kind].filter(wrong);
  element(`${kind}-note`).textContent = !pairs.length ? "None at this threshold."
    : pairs.length < count ? `The ${pairs.length} with the ${extreme} scores of ${whole(count)}.`
    : `All ${pairs.length}, the ${extreme} score first.`;
  element(kind).replaceChildren(...pairs.map(card));
}

function make(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

// A line may end behind an underscore.
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part) => [part, document.createElement("wbr")]);
}

function card(pair) {
  const pictures = pair.names.map((name, k) => {
    const picture = document.createElement("img");
    picture.src = theSet().images[name];
    picture.alt = pair.shown[k];
    return picture;
  });
  const sides = pair.shown.map((name, k) => make("div", "side",
    ...(pair.identities[k] ? [make("b", "", ...breakable(pair.identities[k]))] : []),
    make("span", "", ...breakable(name.slice(name.lastIndexOf("/") + 1))),
    make("span", "", `norm ${pair.norms[k].toPrecision(4)}`)));
  return make("figure", "pair", make("div", "sides", ...pictures, ...sides),
    make("div", "score", `score ${pair.score.toFixed(4)}`));
}

function chooseThreshold(threshold) {
  chosen.threshold = threshold;
  showCounts();
  moveDot(data.models, theSet(), operatingPoint());
  moveThresholdLine(threshold);
}

function choose() {
  chosen.set = Number(element("set").value);
  chosen.model = Number(element("model").value);
  const set = theSet(), result = theResult(), slider = element("threshold");
  chosen.threshold = result.threshold;
  slider.min = Math.floor(100 * result.histogram.edges[0]) / 100;
  slider.max = Math.ceil(100 * result.histogram.edges.at(-1)) / 100;
  slider.value = result.threshold;
  for (const place of document.querySelectorAll(".set-name")) place.textContent = set.name;
  for (const place of document.querySelectorAll(".model-name")) place.textContent = data.models[chosen.model].name;
  for (const row of document.querySelectorAll("#summary tbody tr"))
    row.classList.toggle("chosen", Number(row.dataset.set) === chosen.set);
  element("precision").textContent = result.counts.exact ? "Counts are exact at any threshold."
    : `With so many pairs, counts are kept for ${whole(result.thresholds.length)} thresholds, the best among them; between two, the upper one's are shown.`;
  showCounts();
  const results = data.results.map((row) => row[chosen.set]);
  drawRoc(data.models, results, set, operatingPoint());
  drawReject(data.models, results);
  drawCmc(data.models, results);
  drawHistogram(result.histogram, set, result.threshold);
}

element("set").addEventListener("change", choose);
element("model").addEventListener("change", choose);
element("threshold").addEventListener("input", (event) => chooseThreshold(Number(event.target.value)));
element("best").addEventListener("click", () => {
  element("threshold").value = theResult().threshold;
  chooseThreshold(theResult().threshold);
});
drawLegend("models-legend", data.models.map(({ name }, index) => ({ name, ...style(index) })));
choose();
drawTraining(data.models);
