"use strict";
// Verdicts by key or button; they stay in this browser, and leave it as CSV.
const cards = [...document.querySelectorAll(".card[data-judged]")];
const population = JSON.parse(document.getElementById("population").textContent);
const place = "fcbench " + document.body.dataset.name + " " + document.body.dataset.signature + " " + document.body.dataset.seed;
const Z = 1.959963984540054;
let verdicts = {};
let current = 0;
try { verdicts = JSON.parse(localStorage.getItem(place) || "{}"); } catch { /* a browser that keeps nothing */ }

function wilson(share, count) {
  if (count <= 0) return [0, 1];
  const middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count);
  const reach = Z / (1 + Z * Z / count) * Math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count));
  return [Math.max(0, middle - reach), Math.min(1, middle + reach)];
}

// Strata are weighted by their photos in the dataset, over those that were judged at all; Kish's number of equally
// weighted photos stands in Wilson's interval.
function estimate() {
  const seen = {};
  for (const card of cards) {
    const verdict = verdicts[card.dataset.id];
    if (verdict !== "right" && verdict !== "wrong") continue;
    const row = seen[card.dataset.stratum] ||= { right: 0, count: 0 };
    row.count += 1;
    row.right += verdict === "right";
  }
  const names = Object.keys(seen);
  const total = names.reduce((sum, name) => sum + population[name], 0);
  let share = 0, spread = 0, right = 0, count = 0;
  for (const name of names) {
    const weight = population[name] / total;
    share += weight * seen[name].right / seen[name].count;
    spread += weight * weight / seen[name].count;
    right += seen[name].right;
    count += seen[name].count;
  }
  return { share, interval: wilson(share, spread ? 1 / spread : 0), right, count, seen };
}

const percent = (value) => (100 * value).toFixed(1) + " %";

function tell() {
  const found = estimate();
  document.getElementById("precision").textContent = found.count ? percent(found.share) : "–";
  document.getElementById("interval").textContent = found.count
    ? "95 % interval " + percent(found.interval[0]) + " to " + percent(found.interval[1])
    : "judge some photos";
  document.getElementById("judged").textContent = found.count + " judged, " + found.right + " right, of " + cards.length;
  document.getElementById("bar").style.width = (100 * found.count / Math.max(cards.length, 1)) + "%";
  for (const cell of document.querySelectorAll("[data-tally]")) {
    const row = found.seen[cell.dataset.tally];
    cell.textContent = row ? row.right + " / " + row.count : "0 / 0";
  }
  for (const card of cards) {
    const verdict = card.dataset.verdict = verdicts[card.dataset.id] || "";
    for (const button of card.querySelectorAll("[data-verdict]"))
      button.setAttribute("aria-pressed", String(button.dataset.verdict === verdict));
  }
}

function select(index, scroll) {
  if (!cards.length) return;
  cards[current].classList.remove("current");
  current = Math.min(Math.max(index, 0), cards.length - 1);
  cards[current].classList.add("current");
  if (scroll) cards[current].scrollIntoView({ block: "center" });
}

function judge(card, verdict) {
  if (verdict) verdicts[card.dataset.id] = verdict;
  else delete verdicts[card.dataset.id];
  try { localStorage.setItem(place, JSON.stringify(verdicts)); } catch { /* told above */ }
  tell();
}

const quoted = (text) => '"' + text.replaceAll('"', '""') + '"';

function csv() {
  const lines = cards.map((card) => [card.dataset.id, card.dataset.stratum, verdicts[card.dataset.id] || ""].map(quoted).join(","));
  return ["id,stratum,verdict", ...lines].join("\n") + "\n";
}

function hideMasks() {
  const hidden = document.body.classList.toggle("bare");
  document.getElementById("masks").setAttribute("aria-pressed", String(hidden));
}

const keys = {
  y: () => { judge(cards[current], "right"); select(current + 1, true); },
  n: () => { judge(cards[current], "wrong"); select(current + 1, true); },
  u: () => { judge(cards[current], "unsure"); select(current + 1, true); },
  Backspace: () => judge(cards[current], ""),
  j: () => select(current + 1, true),
  ArrowRight: () => select(current + 1, true),
  k: () => select(current - 1, true),
  ArrowLeft: () => select(current - 1, true),
  m: hideMasks,
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key] || !cards.length) return;
  event.preventDefault();
  keys[event.key]();
});
addEventListener("click", (event) => {
  const card = event.target.closest(".card[data-judged]");
  if (card) select(cards.indexOf(card), false);
  if (card && event.target.dataset.verdict) judge(card, event.target.dataset.verdict);
  if (event.target.closest("#masks")) hideMasks();
  if (event.target.id === "save") {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "verdicts.csv";
    link.click();
  }
});
// Who tabs to a card is on it: keys must not judge another one.
addEventListener("focusin", (event) => {
  const card = event.target.closest(".card[data-judged]");
  if (card) select(cards.indexOf(card), false);
});
select(0, false);
tell();
