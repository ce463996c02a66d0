// The collection of a server: what this page asks over HTTP. `about` is the answer of /v1/health.

const PATIENCE_MS = 30_000;

// Returns float32 numbers as float16, rounded to the nearest.
export function halves(values) {
  const bits = new Uint32Array(Float32Array.from(values).buffer), out = new Uint16Array(bits.length);
  bits.forEach((x, i) => {
    const sign = (x >>> 16) & 0x8000, exponent = ((x >>> 23) & 0xff) - 112, fraction = x & 0x7fffff;
    if (exponent >= 31) out[i] = sign | 0x7bff;
    else if (exponent > 0) out[i] = sign | (((exponent << 10) | (fraction >>> 13)) + ((fraction >>> 12) & 1));
    else if (exponent > -11) out[i] = sign | (((fraction | 0x800000) >>> (13 - exponent)) + 1 >>> 1);
    else out[i] = sign;
  });
  return out;
}

export class Server {
  static async open() {
    const server = new Server();
    await server.refresh();
    return server;
  }

  constructor() {
    this.sentBytes = 0;
    this.canChange = true;
    this.canSend = true;
  }

  get network() {
    return this.about.network.onnx && `.${this.about.network.onnx}`;
  }

  // Where a stream of sound is listened to.
  get streamAddress() {
    const address = new URL("v1/listen?unknown=false", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    return address.href;
  }

  async refresh() {
    this.about = await this.json("v1/health");
    const {asking, limits} = this.about;
    asking.longest_s = Math.min(asking.longest_s, limits.seconds);
  }

  async request(path, options = {}) {
    let response;
    try {
      response = await fetch(path, {signal: AbortSignal.timeout(PATIENCE_MS), ...options});
    } catch {
      throw new Error("The server does not answer. Is it running, and is this device online?");
    }
    if (!response.ok) {
      const {error} = await response.json().catch(() => ({}));
      if (response.status === 401) throw new Error("The server does not accept this token.");
      throw new Error(error ? `The server says: ${error}.` : `The server answered with status ${response.status}.`);
    }
    return response;
  }

  async json(path, options) {
    return (await this.request(path, options)).json();
  }

  // look: of clip.js. Returns a reply, with improbable answers, too.
  identify({speeds, counts, vectors, shifts}, top) {
    const body = halves(vectors), {sha256, hop_s: hop} = this.about.network;
    this.sentBytes += body.byteLength;
    const query = new URLSearchParams({
      data_type: "fingerprint", network: sha256, dtype: "float16", hop_s: hop / shifts, speeds, rows: counts, top,
      probability: 0,
    });
    return this.json(`v1/identify?${query}`, {method: "POST", body});
  }

  // sound: a Blob with an audio file.
  identifySound(sound, top) {
    this.sentBytes += sound.size;
    return this.json(`v1/identify?${new URLSearchParams({top, probability: 0})}`, {method: "POST", body: sound});
  }

  tracks(text, after) {
    return this.json(`v1/tracks?${new URLSearchParams({q: text.toWellFormed?.() ?? text, after, limit: 20})}`);
  }

  // Returns what there is to know of a track by its name, or null.
  async track(name) {
    const {tracks} = await this.json(`v1/tracks?${new URLSearchParams({name: name.toWellFormed?.() ?? name})}`);
    return tracks[0] ?? null;
  }

  add(file, title, token) {
    const query = new URLSearchParams({name: file.name, ...(title && {title})});
    const headers = {Authorization: `Bearer ${token}`, "Content-Type": "application/octet-stream"};
    return this.json(`v1/tracks?${query}`, {method: "POST", body: file, headers, signal: undefined});
  }

  async remove(track, token) {
    await this.request(`v1/tracks/${track.id}`, {method: "DELETE", headers: {Authorization: `Bearer ${token}`}});
  }

  // Returns the address of a part of a recording, or null if this server plays none.
  excerpt(track, startS, seconds) {
    if (!this.about.plays || !track?.id) return null;
    return `v1/tracks/${track.id}/audio?${new URLSearchParams({start_s: startS.toFixed(2), seconds: seconds.toFixed(2)})}`;
  }
}
