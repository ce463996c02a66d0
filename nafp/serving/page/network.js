// The network, run by ONNX Runtime Web (MIT) in WebAssembly, on one thread.

import * as ort from "./ort/ort.wasm.min.mjs";

const HERE = new URL("./ort/", import.meta.url).href;

async function runtime() {
  const packed = await fetch(`${HERE}ort-wasm-simd-threaded.wasm.gz`);
  if (!packed.ok) throw new Error("ONNX Runtime could not be loaded");
  let bytes = await packed.arrayBuffer();
  const [first, second] = new Uint8Array(bytes, 0, 2);
  if (first === 0x1f && second === 0x8b) { // Some web hosts say that it is packed, and the browser has unpacked it.
    bytes = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }
  ort.env.wasm.wasmBinary = bytes;
  ort.env.wasm.wasmPaths = HERE;
  ort.env.wasm.numThreads = 1;
}

export class Network {
  // about: sample_rate_hz, segment_s, hop_s, dim, as of /v1/health.
  constructor(session, about) {
    this.session = session;
    this.rateHz = about.sample_rate_hz;
    this.segment = Math.round(about.segment_s * this.rateHz);
    this.hop = Math.round(about.hop_s * this.rateHz);
    this.dim = about.dim;
  }

  // address: of the ONNX file.
  static async open(address, about) {
    const [file] = await Promise.all([fetch(address), runtime()]);
    if (!file.ok) throw new Error("the network could not be loaded");
    const bytes = new Uint8Array(await file.arrayBuffer());
    return new Network(await ort.InferenceSession.create(bytes, {executionProviders: ["wasm"]}), about);
  }

  // Returns the fingerprint of each segment.
  async run(segments) {
    const waves = new Float32Array(segments.length * this.segment);
    segments.forEach((segment, i) => waves.set(segment, i * this.segment));
    const tensor = new ort.Tensor("float32", waves, [segments.length, this.segment]);
    const [name] = this.session.inputNames, [result] = this.session.outputNames;
    const {data} = (await this.session.run({[name]: tensor}))[result];
    return segments.map((_, i) => data.slice(i * this.dim, (i + 1) * this.dim));
  }
}
