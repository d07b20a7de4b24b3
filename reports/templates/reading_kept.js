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
