// --- keys and buttons

let byPointer = false;  // what is chosen by mouse or finger gives the keys back
const narrower = (share) => setWindow((low + high) / 2, (high - low) * share);
const keys = {
  arrowup: () => toSlice(k + 1), arrowdown: () => toSlice(k - 1), pageup: () => toSlice(k + 5), pagedown: () => toSlice(k - 5),
  home: () => toSlice(0), end: () => toSlice(stack.slices.length - 1),
  arrowleft: () => { active = 0; paint(); }, arrowright: () => { active = 1; paint(); },
  w: nextWindow, ",": () => setWindow((low + high) / 2 + (high - low) / 16, high - low), ".": () => setWindow((low + high) / 2 - (high - low) / 16, high - low),
  "-": () => narrower(0.9), "+": () => narrower(1 / 0.9),
  x: () => $("not-readable").focus(), enter: finish, p: () => show(Math.max(0, at - 1)), n: () => show(Math.min(codes.length - 1, at + 1)),
  s: saveFile, "?": () => { $("keys").open = !$("keys").open; },
};

const keysAtEnd = { s: saveFile, p: () => { $("end").close(); keys.p(); } };  // all else would change what lies behind

document.addEventListener("keydown", (event) => {
  tick();
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || $("start").open) return;
  byPointer = false;
  const isOther = event.key > "~" && event.key.length === 1 && /^Key[A-Z]$/.test(event.code);  // not a Latin letter
  const key = (isOther ? event.code.slice(3) : event.key).toLowerCase(), focused = event.target;
  if (focused.matches("select")) {
    if (key === "escape" || key === "enter") { focused.blur(); event.preventDefault(); }
    return;
  }
  if (focused.matches("button, summary, input") && (key === "enter" || key === " " || (focused.matches("input") && key.startsWith("arrow")))) return;
  if ($("end").open) {
    if (keysAtEnd[key] && !event.repeat) { event.preventDefault(); keysAtEnd[key](); }
    return;
  }
  const digit = /^(?:Digit|Numpad)([1-6])$/.exec(event.code);
  let act = keys[key];
  if (digit && event.shiftKey) act = digit[1] === "6" ? null : () => setConfidence(Number(digit[1]));
  else if (digit || page.keys[key]) act = () => toggle(page.sides[active], page.keys[digit ? digit[1] : key]);
  if (!act || (event.repeat && !key.startsWith("arrow") && !key.startsWith("page"))) return;
  event.preventDefault();
  act();
});

function begin() {
  begun = true;
  $("start").close();
  tick();
}

function bind() {
  codes.forEach((_, i) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = title(i);
    button.addEventListener("click", () => show(i));
    item.append(button);
    $("list").querySelector("ol").append(item);
  });
  for (const button of document.querySelectorAll(".region")) button.addEventListener("click", () => toggle(button.dataset.side, button.dataset.region));
  for (const button of document.querySelectorAll("[data-confidence]")) button.addEventListener("click", () => setConfidence(Number(button.dataset.confidence)));
  const actions = { "next-window": nextWindow, previous: keys.p, next: keys.n, done: finish, save: saveFile, "save-at-end": saveFile, open: () => $("file").click(), begin, "close-end": () => $("end").close() };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  $("drag").addEventListener("click", () => {
    fingerMoves = fingerMoves === "slices" ? "window" : "slices";
    $("drag").setAttribute("aria-pressed", String(fingerMoves === "window"));
    $("drag").textContent = `Finger: ${fingerMoves}`;
  });
  $("slice").addEventListener("input", () => toSlice(Number($("slice").value) - 1));
  $("slice").addEventListener("change", () => { if (byPointer) $("slice").blur(); });
  $("not-readable").addEventListener("change", () => {
    setNotReadable($("not-readable").value);
    if (byPointer) $("not-readable").blur();
  });
  document.addEventListener("pointerdown", () => { byPointer = true; }, true);
  $("file").addEventListener("change", async () => {
    const [file] = $("file").files;
    if (file) await openFile(file);
    $("file").value = "";
  });
  $("start").addEventListener("cancel", (event) => event.preventDefault());
  $("start").addEventListener("close", () => { if (!begun) $("start").showModal(); });  // a second Escape closes it
  // a button that was clicked must not answer the Enter that follows; one that was reached by Tab may
  document.addEventListener("click", (event) => { tick(); if (event.detail > 0 && event.target.closest("button")) document.activeElement.blur(); });
  for (const name of ["pointermove", "wheel"]) document.addEventListener(name, tick, { passive: true });
  document.addEventListener("visibilitychange", () => {
    tick();
    if (document.hidden && begun && records.get(codes[at]).time_s > 0) keep(records.get(codes[at]));
  });
  window.addEventListener("beforeunload", (event) => {
    if (waiting || (failed && exported !== finished())) event.preventDefault();
  });
}

async function start() {
  codes.forEach((code) => records.set(code, fresh(code)));
  bind();
  try {
    await openStore();
  } catch (error) {
    fail(`This browser keeps nothing of this page (${error.name}).`);
  }
  const first = codes.findIndex((code) => !isDone(records.get(code)));
  show(first < 0 ? 0 : first);
  $("start").showModal();
}

start();
