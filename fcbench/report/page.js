"use strict";
// Sorts tables by a click on a heading, and filters the pictures. All words come from the page itself.

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") !== "descending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = [...body.rows];
        rows.sort((a, b) => compare(a.cells[column], b.cells[column], down));
        body.append(...rows);
      }
    });
  });
}

function compare(a, b, down) {
  const [x, y] = [a, b].map((cell) => cell.dataset.value ?? cell.textContent.trim());
  if (x === "" || y === "") return (x === "") - (y === ""); // what is absent comes last either way
  const numbers = !Number.isNaN(Number(x)) && !Number.isNaN(Number(y));
  const order = numbers ? Number(x) - Number(y) : x.localeCompare(y);
  return down ? -order : order;
}

const form = document.getElementById("filter");
if (form) {
  const exhibits = [...document.querySelectorAll(".exhibit")];
  const told = document.getElementById("told");
  const place = exhibits[0]?.parentNode;
  const has = (list, word) => word === "" || JSON.parse(list).includes(word);
  const update = () => {
    const chosen = new FormData(form);
    const methods = new Set(chosen.getAll("method"));
    let shown = 0;
    for (const exhibit of exhibits) {
      const data = exhibit.dataset;
      const fits = has(data.subjects, chosen.get("subject")) && has(data.problems, chosen.get("problem"))
        && (chosen.get("kind") === "" || chosen.get("kind") === data.kind);
      exhibit.hidden = !fits;
      shown += fits;
    }
    for (const tile of document.querySelectorAll(".pictures .tile")) tile.hidden = !methods.has(tile.dataset.method);
    const order = [...exhibits];
    if (chosen.get("order") === "spread") order.sort((a, b) => b.dataset.spread - a.dataset.spread);
    place?.append(...order);
    told.textContent = `${shown} of ${exhibits.length} cases shown`;
  };
  form.hidden = false;
  form.addEventListener("change", update);
  form.addEventListener("reset", () => setTimeout(update));
  update();
}
