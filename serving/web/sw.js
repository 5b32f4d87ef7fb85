/**
 * Service worker that caches the files of the page for offline use.
 *
 * The network comes first; the cache is used if the server cannot be reached. Only the model's files, whose URLs contain
 * their digests, are served from the cache first. Uploads are not intercepted.
 */

const KEPT = "tumbao";
const PAGE = [
  "./",
  "api.js",
  "app.js",
  "audio.js",
  "card.js",
  "element.js",
  "engine.js",
  "icon.svg",
  "model.js",
  "player.js",
  "rate.js",
  "recorder.js",
  "settings.js",
  "song.js",
  "strings.js",
  "style.css",
  "timeline.js",
  "worker.js",
];
const SCOPE = self.registration.scope;
const MODEL = new URL("v1/model", SCOPE).href;
const FILES = `${MODEL}/files/`;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  const requests = PAGE.map((path) => new Request(path, { cache: "reload" }));
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(requests)));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const [url] = request.url.split("#");
  if (url.startsWith(FILES) && url.includes("?sha256=")) event.respondWith(keptFirst(url));
  else if (url === MODEL || isOfPage(url)) event.respondWith(serverFirst(request, url));
});

function isOfPage(url) {
  return url.startsWith(new URL("litert/", SCOPE).href) || PAGE.some((path) => url === new URL(path, SCOPE).href);
}

async function serverFirst(request, url) {
  const cache = await caches.open(KEPT);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(url, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(url);
    if (kept) return kept;
    throw error;
  }
}

async function keptFirst(url) {
  const cache = await caches.open(KEPT);
  const kept = await cache.match(url);
  if (kept) return kept;
  const response = await fetch(url);
  if (response.ok) {
    const [file] = url.split("?");
    const former = (await cache.keys()).filter((one) => one.url.startsWith(`${file}?`));
    await cache.put(url, response.clone());
    await Promise.all(former.map((one) => cache.delete(one)));
  }
  return response;
}
