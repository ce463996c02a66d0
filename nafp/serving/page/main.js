// Puts the page together: a collection, a worker that computes, and the sections that use them.

import {FileDrop} from "./drop.js";
import {Engine} from "./engine.js";
import {Files} from "./files.js";
import {Listener} from "./listen.js";
import {Server} from "./server.js";
import {Shelf} from "./shelf.js";
import {clock} from "./names.js";

const $ = id => document.getElementById(id);

function showSize({tracks, seconds, fingerprints}) {
  const n = tracks.toLocaleString("en");
  $("size").textContent = `${n} ${tracks === 1 ? "track" : "tracks"}, ${clock(seconds)} of sound, `
    + `${fingerprints.toLocaleString("en")} fingerprints`;
}

async function begin() {
  const engine = new Engine(), isStatic = document.documentElement.dataset.collection === "files";
  const collection = await (isStatic ? Files.open(engine) : Server.open());
  showSize(collection.about);
  new Shelf(collection, () => showSize(collection.about)).show();
  $("options").hidden = !collection.canSend;
  new Listener(engine, collection);
  new FileDrop(engine, collection);
  await prepare(engine, collection);
  $("listen-button").disabled = $("file-input").disabled = false;
}

// Loads the network. Without one, the page can only send sound, which it does if it is told to.
async function prepare(engine, collection) {
  const {network: about, asking} = collection.about;
  try {
    if (!collection.network) throw new Error("This server has no network for browsers.");
    await engine.call("open", {address: new URL(collection.network, location.href).href, about, asking});
    $("status").textContent = "Hold this device to the music.";
  } catch (error) {
    if (!collection.canSend) throw error;
    $("status").textContent = `${error.message} Fingerprints cannot be computed here. The sound can be sent instead.`;
    $("options").open = true;
    await new Promise(resolve => $("send-sound").addEventListener("change", resolve, {once: true}));
    $("send-sound").disabled = true;
    $("status").textContent = "Hold this device to the music. What it hears is sent to the server.";
  }
}

begin().catch(error => {
  $("size").textContent = "";
  $("status").textContent = error.message;
  $("status").classList.add("trouble");
});
