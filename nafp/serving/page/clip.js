// A clip that grows, and its fingerprints at several speeds. What was computed once is kept.

import {Resampler, joined, saysNothing} from "./sound.js";

const BATCH = 8; // Segments for the network at a time.

// Sound with one change of speed undone: samples at the rate of the network, and vectors by their first sample.
class Version {
  constructor(fromHz, toHz) {
    this.resampler = new Resampler(fromHz, toHz);
    this.parts = [];
    this.vectors = new Map();
  }

  push(block, isLast) {
    this.parts.push(this.resampler.push(block, isLast));
  }

  samples() {
    if (this.parts.length !== 1) this.parts = [joined(this.parts)];
    return this.parts[0];
  }
}

export class Clip {
  // network: of network.js. rules: how clips are asked, of /v1/health. rateHz: of the sound that comes.
  constructor(network, rules, rateHz) {
    this.network = network;
    this.rules = rules;
    this.rateHz = rateHz;
    this.blocks = [];
    this.versions = new Map();
    this.isWhole = false;
    this.n = 0;
  }

  get seconds() {
    return this.n / this.rateHz;
  }

  hear(block, isLast = false) {
    this.blocks.push(block);
    this.n += block.length;
    this.isWhole ||= isLast;
    for (const version of this.versions.values()) version.push(block, isLast);
  }

  version(speed) {
    if (!this.versions.has(speed)) {
      const version = new Version(this.rateHz, Math.round(this.network.rateHz * speed));
      version.push(joined(this.blocks), this.isWhole);
      this.versions.set(speed, version);
    }
    return this.versions.get(speed);
  }

  // Returns {speeds, counts, vectors}: fingerprints at each speed, one after the other. Speeds at which the clip is
  // too short are left out. shifts: rows for each row of the collection.
  async look(speeds, shifts) {
    const found = [];
    for (const speed of speeds) {
      const rows = await this.rows(this.version(speed), shifts);
      if (rows.length || speed === 1) found.push([speed, rows]);
    }
    return {
      speeds: found.map(([speed]) => speed),
      counts: found.map(([, rows]) => rows.length),
      vectors: joined(found.flatMap(([, rows]) => rows)),
      shifts,
      seconds: this.seconds,
    };
  }

  async rows(version, shifts) {
    const {segment, hop} = this.network, step = Math.floor(hop / shifts);
    let samples = version.samples();
    if (samples.length < segment && samples.length >= this.rules.filled * segment) {
      const filled = new Float32Array(segment);
      filled.set(samples);
      return [...(await this.computed([filled]))];
    }
    const places = [];
    for (let at = 0; at + segment <= samples.length; at += step) places.push(at);
    const missing = places.filter(at => !version.vectors.has(at));
    const vectors = await this.computed(missing.map(at => samples.subarray(at, at + segment)));
    missing.forEach((at, i) => version.vectors.set(at, vectors[i]));
    return places.map(at => version.vectors.get(at));
  }

  // Returns the fingerprints of segments, zeros for those that say nothing.
  async computed(segments) {
    const vectors = segments.map(() => new Float32Array(this.network.dim));
    const heard = [...segments.keys()].filter(i => !saysNothing(segments[i], this.network.rateHz, this.rules));
    for (let i = 0; i < heard.length; i += BATCH) {
      const batch = heard.slice(i, i + BATCH);
      const computed = await this.network.run(batch.map(number => segments[number]));
      batch.forEach((number, j) => vectors[number].set(computed[j]));
    }
    return vectors;
  }
}
