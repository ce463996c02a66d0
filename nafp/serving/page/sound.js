// Sound as mono Float32Array: resampled, cut into segments, and told from silence.

const ZEROS = 24; // Crossings of the kernel on each side.
const ROLLOFF = 0.94; // Of the lower Nyquist frequency: where the pass band ends, about.
const BETA = 8; // Of the Kaiser window: 80 dB.
const OPPOSITE = 1000; // Power of what cancels over that of what is left. 30 dB: no music comes near it.

function gcd(a, b) {
  while (b) [a, b] = [b, a % b];
  return a;
}

function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) sum += term *= (x / 2 / k) ** 2;
  return sum;
}

// Changes the rate of a stream by a windowed sinc, with exact kernels for every phase. Rates are whole numbers.
export class Resampler {
  constructor(fromHz, toHz) {
    const common = gcd(fromHz, toHz);
    this.up = toHz / common;
    this.down = fromHz / common;
    const scale = Math.min(1, toHz / fromHz);
    this.reach = Math.ceil(ZEROS / scale);
    this.kernels = Array.from({length: this.up}, (_, phase) => this.kernel(phase / this.up, scale));
    this.rest = new Float32Array(this.reach); // Silence before the beginning.
    this.at = 0; // Number of the next output.
    this.first = -this.reach; // Number of the input sample at rest[0].
    this.isPlain = fromHz === toHz;
  }

  kernel(fraction, scale) {
    const taps = new Float32Array(2 * this.reach + 1), whole = bessel(BETA);
    for (let i = 0; i < taps.length; i++) {
      const u = (i - this.reach - fraction) * scale, share = 1 - (u / ZEROS) ** 2;
      const x = Math.PI * ROLLOFF * u;
      taps[i] = share <= 0 ? 0 : scale * ROLLOFF * (x ? Math.sin(x) / x : 1) * bessel(BETA * Math.sqrt(share)) / whole;
    }
    return taps;
  }

  // Returns what the next samples give. isLast: whether none will follow.
  push(samples, isLast = false) {
    if (this.isPlain) return samples;
    const padded = new Float32Array(this.rest.length + samples.length + (isLast ? this.reach : 0));
    padded.set(this.rest);
    padded.set(samples, this.rest.length);
    const end = this.first + padded.length, out = [];
    for (;;) {
      const place = Math.floor(this.at * this.down / this.up);
      if (place + this.reach >= end) break;
      const taps = this.kernels[(this.at * this.down) % this.up], from = place - this.reach - this.first;
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += taps[i] * padded[from + i];
      out.push(sum);
      this.at++;
    }
    const kept = Math.max(0, Math.floor(this.at * this.down / this.up) - this.reach - this.first);
    this.rest = padded.slice(kept);
    this.first += kept;
    return Float32Array.from(out);
  }
}

export function resample(samples, fromHz, toHz) {
  return new Resampler(fromHz, toHz).push(samples, true);
}

export function joined(parts) {
  const all = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const windows = new Map();

function hann(n) {
  if (!windows.has(n)) windows.set(n, Float64Array.from({length: n}, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / n)));
  return windows.get(n);
}

// Returns whether a segment is silent but for a hum. The twin of nafp.identify.asking.says_nothing.
export function saysNothing(segment, rateHz, {silence, hum_hz: humHz}) {
  const n = segment.length, window = hann(n), heard = new Float64Array(n);
  let total = 0, norm = 0, changes = 0, before = segment[n - 1] * window[n - 1];
  for (let i = 0; i < n; i++) {
    heard[i] = segment[i] * window[i];
    total += heard[i] ** 2;
    norm += window[i] ** 2;
    changes += (heard[i] - before) ** 2;
    before = heard[i];
  }
  const most = silence ** 2 * n * norm, low = Math.ceil(humHz * n / rateHz);
  if (n * total < most) return true;
  // Differences hold frequency k 4 sin^2(pi k / n) times, so this much at least is above the hum: most sound is.
  if (n * (changes - 4 * Math.sin(Math.PI * low / n) ** 2 * total) / 4 > most) return false;
  let above = n * total + bin(heard, n / 2);
  for (let k = 0; k < low; k++) above -= (k ? 2 : 1) * bin(heard, k);
  return above < most;
}

// Returns the power of one frequency, by Goertzel's recurrence.
function bin(samples, k) {
  const turn = 2 * Math.cos(2 * Math.PI * k / samples.length);
  let one = 0, two = 0;
  for (let i = 0; i < samples.length; i++) {
    const next = samples[i] + turn * one - two;
    two = one;
    one = next;
  }
  return one * one + two * two - turn * one * two;
}

// Returns a clip with reflections before and after it that make it n samples, and the length of the one before it.
// A longer clip stays as it is. The twin of nafp.identify.brief.continued, for clips of at least n / 2.
export function continued(samples, n) {
  const missing = Math.max(0, n - samples.length), before = missing >> 1;
  const reflected = samples.slice().reverse();
  const after = reflected.subarray(0, missing - before);
  return {whole: joined([reflected.subarray(samples.length - before), samples, after]), before};
}

// Returns samples as a WAV file of 16 bits.
export function wav(samples, rateHz) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, i) => bytes.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); bytes.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true); bytes.setUint16(20, 1, true); bytes.setUint16(22, 1, true);
  bytes.setUint32(24, rateHz, true); bytes.setUint32(28, 2 * rateHz, true);
  bytes.setUint16(32, 2, true); bytes.setUint16(34, 16, true);
  text(36, "data"); bytes.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => bytes.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, x))), true));
  return new Blob([bytes.buffer], {type: "audio/wav"});
}

// Decodes a file into mono samples at a rate. The browser knows the containers.
export async function decoded(file, rateHz) {
  const context = new OfflineAudioContext(1, 1, rateHz);
  const buffer = await context.decodeAudioData(await file.arrayBuffer());
  const channels = Array.from({length: buffer.numberOfChannels}, (_, channel) => buffer.getChannelData(channel));
  return averaged(channels, rateHz);
}

// Averages channels, second by second. Where they cancel each other, those opposite to the loudest are inverted first.
// The twin of nafp.audio.channels.averaged.
export function averaged(channels, rateHz) {
  if (channels.length === 1) return channels[0];
  const mono = new Float32Array(channels[0].length);
  for (let at = 0; at < mono.length; at += rateHz) {
    const parts = channels.map(samples => samples.subarray(at, at + rateHz)), plain = added(parts, parts.map(() => 1));
    const powers = parts.map(part => product(part, part)), loudest = parts[powers.indexOf(Math.max(...powers))];
    const signs = parts.map(part => product(part, loudest) < 0 ? -1 : 1);
    const aligned = added(parts, signs.map(sign => sign * signs[0]));
    mono.set(product(aligned, aligned) > OPPOSITE * product(plain, plain) ? aligned : plain, at);
  }
  return mono;
}

function added(parts, signs) {
  const sum = new Float32Array(parts[0].length);
  parts.forEach((part, c) => {
    for (let i = 0; i < sum.length; i++) sum[i] += signs[c] * part[i] / parts.length;
  });
  return sum;
}

function product(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
