// Keeps a static page for the time without a network. `nafp page` fills in the version and the files.
const VERSION = "", FILES = [];

self.addEventListener("install", event => {
  event.waitUntil(caches.open(VERSION).then(cache => cache.addAll(FILES)).then(() => self.skipWaiting()));
});
self.addEventListener("activate", event => {
  event.waitUntil(caches.keys().then(names => Promise.all(names.filter(name => name !== VERSION && name.startsWith("nafp-"))
    .map(name => caches.delete(name)))).then(() => self.clients.claim()));
});
self.addEventListener("fetch", event => {
  event.respondWith(caches.open(VERSION).then(cache => cache.match(event.request, {ignoreSearch: true}))
    .then(kept => kept ?? fetch(event.request)));
});
