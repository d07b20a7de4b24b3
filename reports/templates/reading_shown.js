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
    return $("end").open || $("end").showModal();
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
