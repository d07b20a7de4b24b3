"use strict";
const body = document.querySelector("#patients tbody");
const rows = Array.from(body.rows);
const texts = rows.map((row) => Array.from(row.cells, (cell) => cell.textContent));
const filters = document.querySelector("#filters");
const order = new Intl.Collator("en", { numeric: true });

function filter() {
  const name = filters.elements.name.value.trim().toLowerCase();
  const status = filters.elements.status.value;
  const site = filters.elements.site.value;
  const differs = filters.elements.sides.checked;
  let shown = 0;
  rows.forEach((row, i) => {
    const of = texts[i];
    row.hidden = !(of[0].toLowerCase().includes(name) && (!status || of[1] === status) && (!site || of[2] === site)
      && (!differs || of[of.length - 1] !== ""));
    shown += row.hidden ? 0 : 1;
  });
  document.querySelector("#shown").textContent = `${shown} of ${rows.length} patients`;
}

function sort(heading) {
  const column = heading.cellIndex;
  const down = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const empty = (text) => text === "" || text === "–";
  const places = rows.map((_, i) => i).sort((a, b) => {
    const x = texts[a][column], y = texts[b][column];
    if (empty(x) || empty(y)) return empty(x) - empty(y) || a - b;  // what has no value stands last both ways
    return down * order.compare(x, y) || a - b;
  });
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
  body.append(...places.map((i) => rows[i]));
}

filters.hidden = false;
filters.addEventListener("input", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
for (const button of document.querySelectorAll("#patients thead button")) {
  button.addEventListener("click", () => sort(button.parentNode));
}
filter();
