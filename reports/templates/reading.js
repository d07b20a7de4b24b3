"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const IDLE_MS = 60000;  // a longer pause between two inputs is not counted as reading
const EMPTY = { affected: [], confidence: null, not_readable: null };
const codes = page.cases.map((one) => one.code);

// --- what the reader did: code -> { code, version, time_s, draft, revisions }; the draft is what the page shows

const records = new Map();
const fresh = (code) => ({ code, version: 0, time_s: 0, draft: { ...EMPTY }, revisions: [] });
const answersOf = (one) => JSON.stringify([[...one.affected].sort(), one.confidence, one.not_readable]);
const last = (record) => record.revisions[record.revisions.length - 1];
const isOpen = (record) => answersOf(record.draft) !== answersOf(last(record) || EMPTY);
const isDone = (record) => record.revisions.length > 0 && !isOpen(record);

// --- keeping it: one entry per case in the browser's database, durable before the page says "kept"

const KEY = `${page.round_id} ${page.reader}`;
let store = null, waiting = 0, failed = "", exported = "";

function request(action) {
  return new Promise((resolve, reject) => {
    action.onsuccess = () => resolve(action.result);
    action.onerror = () => reject(action.error);
  });
}

async function openStore() {
  const opening = indexedDB.open("aspects-reading", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("cases");
  store = await request(opening);
  store.onclose = () => fail("The browser closed its database.");
  const cases = store.transaction("cases").objectStore("cases");
  const found = await Promise.all([...codes.map((code) => request(cases.get(`${KEY} ${code}`))), request(cases.get(`${KEY} saved file`))]);
  codes.forEach((code, i) => records.set(code, found[i] || fresh(code)));
  exported = found[codes.length] || "";
  if (navigator.storage && navigator.storage.persist) navigator.storage.persist().catch(() => {});
}

function put(key, value) {
  return new Promise((resolve, reject) => {
    const transaction = store.transaction("cases", "readwrite", { durability: "strict" });
    const cases = transaction.objectStore("cases");
    const before = cases.get(key);
    before.onsuccess = () => {  // another window may have gone further
      if (value.version && before.result && before.result.version >= value.version) {
        transaction.abort();
        reject(new Error("elsewhere"));
      } else cases.put(value, key);
    };
    transaction.oncomplete = resolve;
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

async function keep(record) {
  record.version += 1;
  paintList();
  if (!store) return;
  const copy = JSON.parse(JSON.stringify(record));
  waiting += 1;
  paintSaved();
  try {
    await put(`${KEY} ${record.code}`, copy);
  } catch (error) {
    if (error && error.message === "elsewhere") fail("This page is open in another window, which changed this case. Close this window and go on there.");
    else fail(`The browser could not keep the reading (${error ? error.name : "unknown"}). Free space on the disk, or use another browser.`);
  }
  waiting -= 1;
  paintSaved();
}

function fail(text) {
  failed = text;
  $("trouble").textContent = `${text} Press Save file before you close the page.`;
  $("trouble").hidden = false;
  paintSaved();
}

function paintSaved() {
  const isBegun = codes.some((code) => records.get(code).revisions.length || isOpen(records.get(code)));
  $("saved").className = failed ? "failed" : "";
  $("saved").textContent = failed ? "Not kept" : waiting ? "Keeping ..." : !isBegun ? "" : exported === finished() ? "Kept, and in the file" : "Kept here, not in a file";
}

const finished = () => JSON.stringify(codes.map((code) => [records.get(code).revisions.length, isOpen(records.get(code))]));

// --- the file

function reading() {
  return {
    format: "aspects-reading",
    version: 1,
    round_id: page.round_id,
    reader: page.reader,
    exported_at: new Date().toISOString(),
    cases: codes.map((code) => records.get(code)).filter((one) => one.revisions.length || isOpen(one))
      .map((one) => ({ code: one.code, is_open: isOpen(one), revisions: one.revisions })),
  };
}

function saveFile() {
  const content = reading();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  link.download = `reading-${page.reader}-${page.round}-${content.exported_at.slice(0, 19).replace(/:/g, "")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  exported = finished();
  if (store) put(`${KEY} saved file`, exported).catch(() => {});
  paintSaved();
}

async function openFile(file) {
  let content;
  try {
    content = JSON.parse(await file.text());
  } catch {
    return say("This file is not one that this page saved.");
  }
  if (!content || content.format !== "aspects-reading" || !Array.isArray(content.cases)) return say("This file is not one that this page saved.");
  if (content.round_id !== page.round_id) return say("This file is of another round of reading.");
  if (content.reader !== page.reader) return say(`This file is of reader ${content.reader}; you are reader ${page.reader}.`);
  let n = 0, apart = 0;
  for (const given of content.cases) {
    const record = records.get(given.code);
    if (!record || !Array.isArray(given.revisions) || !given.revisions.every((one) => one && Array.isArray(one.affected))) continue;
    const own = JSON.stringify(record.revisions), theirs = JSON.stringify(given.revisions);
    const k = Math.min(record.revisions.length, given.revisions.length);
    if (JSON.stringify(record.revisions.slice(0, k)) !== JSON.stringify(given.revisions.slice(0, k))) apart += 1;
    else if (own !== theirs && given.revisions.length > record.revisions.length) {
      const isChanged = isOpen(record);
      record.revisions = given.revisions;
      if (!isChanged) record.draft = answersFrom(last(record));
      record.time_s = Math.max(record.time_s, last(record).time_s);
      n += 1;
      await keep(record);
    }
  }
  show(at);
  return say(`${n} cases were taken from the file.${apart ? ` ${apart} were read otherwise here and stay as they are.` : ""}`);
}

const answersFrom = (one) => ({ affected: [...one.affected], confidence: one.confidence, not_readable: one.not_readable });

// --- time: what passes between two inputs while the page is in view

let since = null;

function tick() {
  const now = performance.now();
  if (since !== null && begun) records.get(codes[at]).time_s += Math.min(now - since, IDLE_MS) / 1000;
  since = document.hidden ? null : now;
}

// --- slices

let at = 0, begun = false, stack = null, grey = [], k = 0, low = 0, high = 80, preset = 0, active = 0, loading = 0;
const canvas = $("canvas"), context = canvas.getContext("2d", { willReadFrequently: true });

async function loadStack(code) {
  const ticket = ++loading;
  stack = JSON.parse($(`stack-${code}`).textContent);
  const own = stack;
  grey = own.slices.map(() => null);
  canvas.width = own.width;
  canvas.height = own.height;
  $("slice").max = own.slices.length;
  $("thickness").textContent = `${own.slices.length} slices, every ${own.thickness_mm} mm${own.is_averaged ? ", averaged from thinner ones" : ""}.`;
  k = Math.floor(own.slices.length * 0.4);
  resetWindow();
  drawSlice();
  const order = own.slices.map((_, i) => i).sort((a, b) => Math.abs(a - k) - Math.abs(b - k));
  for (const i of order) {
    const image = new Image();
    image.src = `data:image/png;base64,${own.slices[i]}`;
    try {
      await image.decode();
    } catch {
      if (ticket === loading) fail(`Slice ${i + 1} of case ${code} is damaged in this file. Ask for the page again.`);
      continue;
    }
    if (ticket !== loading) return;
    const sheet = Object.assign(document.createElement("canvas"), { width: own.width, height: own.height }).getContext("2d", { willReadFrequently: true });
    sheet.drawImage(image, 0, 0);
    const data = sheet.getImageData(0, 0, own.width, own.height).data;
    grey[i] = new Uint8Array(own.width * own.height);
    for (let j = 0; j < grey[i].length; j += 1) grey[i][j] = data[4 * j];
    if (i === k) drawSlice();
  }
  canvas.dataset.ready = code;
}

function drawSlice() {
  const [from, to] = stack.range, unit = stack.unit ? ` ${stack.unit}` : "";
  const shades = Uint8ClampedArray.from({ length: 256 }, (_, g) => 255 * (from + (g / 255) * (to - from) - low) / (high - low));
  const picture = context.createImageData(canvas.width, canvas.height);
  const values = grey[k];
  for (let j = 0; j < picture.data.length; j += 4) {
    picture.data[j] = picture.data[j + 1] = picture.data[j + 2] = values ? shades[values[j / 4]] : 0;
    picture.data[j + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  $("slice").value = k + 1;
  $("number").textContent = values ? `${k + 1} / ${stack.slices.length}` : "loading ...";
  canvas.setAttribute("aria-label", `Slice ${k + 1} of ${stack.slices.length} from below`);
  const digits = high - low < 10 ? 2 : 0;
  $("window").textContent = `Window ${(high - low).toFixed(digits)}, level ${((high + low) / 2).toFixed(digits)}${unit}`;
}

function toSlice(place) {
  k = Math.max(0, Math.min(stack.slices.length - 1, place));
  drawSlice();
}

function setWindow(centre, width) {
  const whole = stack.range[1] - stack.range[0];
  const half = Math.max(whole / 200, Math.min(whole, width)) / 2;
  const middle = Math.max(stack.range[0], Math.min(stack.range[1], centre));
  [low, high] = [middle - half, middle + half];
  drawSlice();
}

function presets() {
  const start = JSON.stringify(stack.window);
  return [stack.window, ...page.windows.filter((one) => JSON.stringify(one) !== start)];
}

function resetWindow() {
  preset = 0;
  [low, high] = stack.window;
}

function nextWindow() {
  const all = presets();
  preset = (preset + 1) % all.length;
  [low, high] = all[preset];
  drawSlice();
}

let dragged = null, fingerMoves = "slices";

canvas.addEventListener("pointerdown", (event) => {
  dragged = { x: event.clientX, y: event.clientY, low, high, k };
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!dragged || !event.buttons) return;
  const across = event.clientX - dragged.x, down = event.clientY - dragged.y;
  if (event.pointerType === "touch" && fingerMoves === "slices") return toSlice(dragged.k - Math.round(down / 14));
  const share = (stack.range[1] - stack.range[0]) / 600;
  return setWindow((dragged.low + dragged.high) / 2 - down * share, dragged.high - dragged.low + across * share);
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { dragged = null; });
canvas.addEventListener("dblclick", () => { resetWindow(); drawSlice(); });
let turned = 0;
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  turned += event.deltaMode === 0 ? event.deltaY / 60 : event.deltaY;  // a touch pad sends many small steps
  const steps = Math.trunc(turned) || (Math.abs(event.deltaY) >= 50 ? Math.sign(event.deltaY) : 0);
  if (steps) { turned = 0; toSlice(k - Math.max(-3, Math.min(3, steps))); }
}, { passive: false });

// --- answers

const draft = () => records.get(codes[at]).draft;

function change(edit) {
  const record = records.get(codes[at]);
  edit(record.draft);
  say("");
  paint();
  keep(record);
}

function toggle(side, region) {
  const name = `${side}_${region}`;
  active = page.sides.indexOf(side);
  if (draft().not_readable) return say("The scan is marked as not readable. Choose \"it is readable\" first.");
  return change((one) => {
    one.affected = one.affected.includes(name) ? one.affected.filter((other) => other !== name) : [...one.affected, name];
  });
}

function setConfidence(value) {
  if (draft().not_readable) return say("The scan is marked as not readable. Choose \"it is readable\" first.");
  return change((one) => { one.confidence = value; });
}

function setNotReadable(reason) {
  change((one) => {
    one.not_readable = reason || null;
    if (reason) [one.affected, one.confidence] = [[], null];
  });
}

async function finish() {
  const record = records.get(codes[at]);
  const { confidence, not_readable: reason } = record.draft;
  if (confidence === null && reason === null) {
    return say("Say how sure you are (Shift and 1 to 5), or why the scan is not readable (X).");
  }
  if (!last(record) || isOpen(record)) {
    const affected = [...record.draft.affected].sort();
    record.revisions.push({ finished_at: new Date().toISOString(), time_s: Math.round(record.time_s * 10) / 10, affected, confidence, not_readable: reason });
  }
  const kept = keep(record);
  const ahead = [...codes.keys()].map((i) => (at + 1 + i) % codes.length).find((i) => !isDone(records.get(codes[i])));
  if (ahead === undefined) {
    await kept;
    paint();
    return $("end").showModal();
  }
  return show(ahead);
}

function say(text) {
  $("state").textContent = text;
}

// --- painting

function title(i) {
  const n = page.cases.filter((one) => one.is_training).length;
  return page.cases[i].is_training ? `T${i + 1}` : String(i + 1 - n);
}

function paintList() {
  const buttons = $("list").querySelectorAll("button");
  codes.forEach((code, i) => {
    const record = records.get(code);
    const is = isOpen(record) ? "open" : !isDone(record) ? "" : last(record).not_readable ? "not-readable" : "done";
    buttons[i].className = is;
    buttons[i].setAttribute("aria-label", `Case ${title(i)}${page.cases[i].is_training ? ", training" : ""}: ${{ open: "not finished", done: "done", "not-readable": "not readable", "": "not begun" }[is]}`);
    if (i === at) buttons[i].setAttribute("aria-current", "true"); else buttons[i].removeAttribute("aria-current");
  });
  const n = codes.filter((code) => isDone(records.get(code))).length;
  $("progress").textContent = `${n} of ${codes.length} done`;
}

function paint() {
  const one = draft();
  for (const button of document.querySelectorAll(".region")) {
    button.setAttribute("aria-pressed", String(one.affected.includes(`${button.dataset.side}_${button.dataset.region}`)));
  }
  for (const box of document.querySelectorAll("fieldset")) box.classList.toggle("active", box.dataset.side === page.sides[active]);
  for (const side of page.sides) {
    const n = one.affected.filter((name) => name.startsWith(`${side}_`)).length;
    document.querySelector(`[data-score="${side}"]`).textContent = one.not_readable ? "–" : String(10 - n);
  }
  for (const button of document.querySelectorAll("[data-confidence]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.confidence) === one.confidence));
  }
  $("not-readable").value = one.not_readable || "";
  document.body.classList.toggle("reading-off", one.not_readable !== null);
  paintList();
  paintSaved();
}

function show(i) {
  const record = records.get(codes[at]);
  tick();
  if (i !== at && begun) keep(record);  // the time spent on it
  const isOther = i !== at || !stack;
  at = i;
  const { code, is_training: isTraining } = page.cases[at];
  $("case").textContent = `${isTraining ? "Training case" : "Case"} ${title(at)} · ${code}`;
  const own = records.get(code);
  say(last(own) && isOpen(own) ? "You changed this case: press Done to keep the change." : isTraining ? "A case to learn the page by; it is not analysed." : "");
  if (isOther) { active = 0; loadStack(code); }
  paint();
  $("list").querySelectorAll("button")[at].scrollIntoView({ block: "nearest" });
}

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

document.addEventListener("keydown", (event) => {
  tick();
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || document.querySelector("dialog[open]")) return;
  byPointer = false;
  const isOther = event.key > "~" && event.key.length === 1 && /^Key[A-Z]$/.test(event.code);  // not a Latin letter
  const key = (isOther ? event.code.slice(3) : event.key).toLowerCase(), focused = event.target;
  if (focused.matches("select")) {
    if (key === "escape" || key === "enter") { focused.blur(); event.preventDefault(); }
    return;
  }
  if (focused.matches("button, summary, input") && (key === "enter" || key === " " || (focused.matches("input") && key.startsWith("arrow")))) return;
  const digit = /^(?:Digit|Numpad)([1-6])$/.exec(event.code);
  let act = keys[key];
  if (digit && event.shiftKey) act = digit[1] === "6" ? null : () => setConfidence(Number(digit[1]));
  else if (digit || page.keys[key]) act = () => toggle(page.sides[active], page.keys[digit ? digit[1] : key]);
  if (!act || (event.repeat && !key.startsWith("arrow") && !key.startsWith("page"))) return;
  event.preventDefault();
  act();
});

function begin() {
  $("start").close();
  begun = true;
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
