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
    row.hidden = !(of[0].toLowerCase().includes(name) && (!status || of[1] === status) && (!site || of[3] === site)
      && (!differs || of[2] !== ""));
    shown += row.hidden ? 0 : 1;
  });
  document.querySelector("#shown").textContent = `${shown} of ${rows.length} patients`;
}

function ranks(column) {  // of each row's text among the different texts of a column; what has no value stands last
  const different = Array.from(new Set(texts.map((of) => of[column]))).sort(order.compare);
  const places = new Map(different.map((text, place) => [text, text === "" || text === "–" ? Infinity : place]));
  return texts.map((of) => places.get(of[column]));
}

function sort(heading) {
  const down = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const rank = ranks(heading.cellIndex);
  const last = (i) => rank[i] === Infinity;
  const places = rows.map((_, i) => i).sort((a, b) => last(a) - last(b) || (last(a) ? 0 : down * (rank[a] - rank[b])) || a - b);
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
  body.textContent = "";  // emptied at once: taking 10,000 rows out one by one takes seconds
  body.append(...places.map((i) => rows[i]));
}

filters.hidden = false;
filters.addEventListener("input", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
for (const button of document.querySelectorAll("#patients thead button")) {
  button.addEventListener("click", () => sort(button.parentNode));
}
filter();
