/** The page: classifies songs one after the other, on the server or in this browser, and shows the results. */

import { ask } from "./api.js";
import { card, sentence } from "./card.js";
import { Model } from "./engine.js";
import { stop } from "./player.js";
import { record } from "./recorder.js";
import { language, local, remember } from "./settings.js";
import { words } from "./strings.js";

const CONTROL_MS = 5_000; // a page loaded without its service worker is never controlled
const at = (id) => document.getElementById(id);

/** @type {object[]} newest first; see card.js */
let songs = [];
let say = words(language());
let queue = Promise.resolve();
/** @type {(() => Promise<File>) | undefined} */
let stopRecording;

at("local").checked = local();
at("record").hidden = !navigator.mediaDevices;
listen();
speak(say.code);
const kept = controlled().catch(() => false);
/** @type {Promise<Model>} the model of this browser */
let model = kept.then(Model.current).then(take);
model.then(keep).catch(() => {}); // errors are reported where the model is used

function listen() {
  at("files").addEventListener("change", ({ target }) => {
    add(target.files);
    target.value = "";
  });
  at("local").addEventListener("change", ({ target }) => {
    remember("local", target.checked ? "yes" : "no");
    where();
  });
  at("record").addEventListener("click", microphone);
  document.querySelectorAll(".languages button").forEach((button) =>
    button.addEventListener("click", () => {
      remember("language", button.value);
      speak(button.value);
      model.then(introduce).catch(() => {});
    }),
  );
  addEventListener("dragover", (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
  addEventListener("dragleave", () => at("drop").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    at("drop").classList.remove("over");
    add(event.dataTransfer.files);
  });
}

/** Wait until a service worker controls this page; return false if there is none. */
async function controlled() {
  const workers = navigator.serviceWorker;
  if (!workers) return false;
  const changed = new Promise((resolve) => workers.addEventListener("controllerchange", resolve, { once: true }));
  await workers.register("sw.js");
  if (!workers.controller) await Promise.race([changed, new Promise((resolve) => setTimeout(resolve, CONTROL_MS))]);
  return Boolean(workers.controller);
}

/** Start loading a model. */
function take(current) {
  current.drawable = current.loadFrontend().then(() => true, () => false);
  current.drawable.then(offerLocal);
  at("synthetic").hidden = !current.card.training_data.synthetic;
  at("undecided").hidden = current.card.decision !== "undecided";
  introduce(current);
  return current;
}

/** Offer to run the model in this browser, if it can. */
function offerLocal(able) {
  at("local").disabled = !able;
  at("local").checked = able && local();
  where();
}

function where() {
  at("where").textContent = at("local").disabled ? say.localUnable : at("local").checked ? say.localOn : say.localOff;
}

function introduce({ card: { genres } }) {
  at("lead").textContent = say.lead(say.list(genres.map(say.genre)));
}

/** Fetch the files for offline use, unless the browser saves data. */
async function keep({ drawable, classifier }) {
  if (!(await kept) || !(await drawable) || navigator.connection?.saveData) return;
  await (await fetch(classifier)).arrayBuffer(); // the service worker caches it
  at("offline").hidden = false;
}

/** Load the current version of the model, unless it is loaded already. */
async function fresh(identity) {
  const before = await model.catch(() => undefined);
  if (before && before.identity === identity) return before;
  const now = await Model.current();
  if (before?.identity === now.identity) return before;
  model = Promise.resolve(take(now));
  keep(now).catch(() => {});
  return now;
}

function speak(code) {
  say = words(code);
  document.documentElement.lang = code;
  document.title = say.title;
  document.querySelectorAll("[data-say]").forEach((one) => (one.textContent = say[one.dataset.say]));
  document.querySelectorAll(".languages button").forEach((one) => one.setAttribute("aria-pressed", String(one.value === code)));
  document.querySelector(".languages").setAttribute("aria-label", say.language);
  at("level").setAttribute("aria-label", say.level);
  where();
  if (stopRecording) at("record").textContent = say.stopRecording;
  stop();
  songs.forEach(show);
}

function add(files) {
  for (const file of files) {
    const song = { name: file.name, state: "decoding", images: {} };
    songs.unshift(song);
    show(song);
    queue = queue.then(() => classify(song, file));
  }
}

async function classify(song, file) {
  song.local = at("local").checked;
  try {
    await (song.local ? here : there)(song, file);
    song.state = "answered";
  } catch (error) {
    song.state = "refused";
    song.error = error.reason ? error : { reason: "other" };
  }
  if (!songs.includes(song)) return;
  show(song);
  at("status").textContent = sentence(song, say);
}

/** Classify on the server; the browser decodes only for the waveform and playback. */
async function there(song, file) {
  const prepared = fresh().then((current) => current.prepare(file)).catch(() => undefined); // optional
  song.state = "asking";
  show(song);
  song.answer = await ask(file);
  song.model = await fresh(song.answer.model).catch(() => undefined);
  song.sound = song.model && (await prepared);
  song.drawable = Boolean(song.sound) && (await song.model.drawable);
}

async function here(song, file) {
  song.model = await fresh().catch(() => {
    throw Object.assign(new Error(), { reason: "no model" });
  });
  song.sound = await song.model.prepare(file);
  song.state = "asking";
  show(song);
  const onProgress = (share) => {
    song.share = share;
    show(song);
  };
  song.answer = await song.model.answer(file, song.sound, onProgress).catch(() => {
    throw Object.assign(new Error(), { reason: "no browser model" });
  });
  song.drawable = true;
}

function show(song) {
  const shown = card(song, say, () => remove(song));
  if (song.element) song.element.replaceWith(shown);
  else at("list").prepend(shown);
  song.element = shown;
  at("songs").hidden = false;
}

function remove(song) {
  stop();
  songs = songs.filter((one) => one !== song);
  song.element.remove();
  at("songs").hidden = !songs.length;
  at("files").focus();
}

async function microphone() {
  if (stopRecording) {
    const recorded = stopRecording;
    stopRecording = undefined;
    at("meter").hidden = true;
    at("record").textContent = say.record;
    add([await recorded()]);
    return;
  }
  try {
    stopRecording = await record((level, seconds) => {
      at("level").value = level;
      at("recording").textContent = say.recording(say.time(seconds));
    });
    at("meter").hidden = false;
    at("record").textContent = say.stopRecording;
  } catch {
    at("status").textContent = say.failed(say.record, say.says.microphone);
    const song = { name: say.record, state: "refused", error: { reason: "microphone" } };
    songs.unshift(song);
    show(song);
  }
}
