// A collection in files beside the page, searched in this browser. `nafp page` writes them.

const FOLDER = "collection/", PAGE = 20;

async function fetched(name) {
  const response = await fetch(FOLDER + name).catch(() => null);
  if (!response?.ok) throw new Error(`The file ${name} of this page could not be loaded.`);
  return response;
}

export class Files {
  static async open(engine) {
    const files = new Files();
    const [about, tracks] = await Promise.all(["about.json", "tracks.json"].map(async name => (await fetched(name)).json()));
    if (about.unfinished) throw new Error("This page was not written to its end. Run nafp page once more.");
    const buffer = await (await fetched("fingerprints.bin")).arrayBuffer();
    Object.assign(files, {engine, about, list: tracks});
    const {hop_s, segment_s, dim} = about.network;
    const nBytes = about.fingerprints * dim * (about.index.dtype === "int8" ? 1 : 2);
    if (tracks.length !== about.tracks || buffer.byteLength !== nBytes) {
      throw new Error("Not all files of this page are of the same collection. Load it again, or put all of them there.");
    }
    await engine.call("openIndex", {
      ...about.index, buffer, dim, hop_s, segment_s, tracks: tracks.map(({name, rows}) => ({name, rows})),
    });
    if ("serviceWorker" in navigator) navigator.serviceWorker.register("offline.js").catch(() => {});
    return files;
  }

  constructor() {
    this.sentBytes = 0;
    this.canChange = false;
    this.canSend = false;
  }

  get network() {
    return `${FOLDER}network.onnx`;
  }

  identify(look, top) {
    return this.engine.call("identify", {look, top, least: 0});
  }

  async tracks(text, after) {
    const words = text.toLowerCase();
    const fits = ({name, metadata}) => [name, ...Object.values(metadata)].some(one => one.toLowerCase().includes(words));
    const found = this.list.filter(track => track.id > after && fits(track));
    return {tracks: found.slice(0, PAGE), next: found.length > PAGE ? found[PAGE - 1].id : null};
  }

  async track(name) {
    return this.list.find(track => track.name === name) ?? null;
  }

  excerpt() {
    return null;
  }
}
