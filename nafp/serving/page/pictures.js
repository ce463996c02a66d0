// Spectrograms: computed, scrolled past while listening, and two of them drawn over each other.

const N_FFT = 512, BANDS = 64, LOW_HZ = 150, RANGE = 5; // Natural logarithms: 43 dB.
const window_ = Float32Array.from({length: N_FFT}, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / N_FFT));

// Replaces re and im by their discrete Fourier transform. Their length is a power of two.
function transform(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let size = 2; size <= n; size *= 2) {
    for (let start = 0; start < n; start += size) {
      for (let k = 0; k < size / 2; k++) {
        const angle = -2 * Math.PI * k / size, c = Math.cos(angle), s = Math.sin(angle);
        const a = start + k, b = a + size / 2, x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x; im[b] = im[a] - y;
        re[a] += x; im[a] += y;
      }
    }
  }
}

// Returns the loudness of each band of N_FFT samples from `at` on, as natural logarithms of power.
function column(samples, at, rateHz) {
  const re = new Float32Array(N_FFT), im = new Float32Array(N_FFT);
  for (let i = 0; i < N_FFT; i++) re[i] = (samples[at + i] ?? 0) * window_[i];
  transform(re, im);
  const bands = new Float32Array(BANDS), ratio = rateHz / 2 / LOW_HZ;
  const edge = band => LOW_HZ * ratio ** (band / BANDS) * N_FFT / rateHz;
  for (let band = 0; band < BANDS; band++) {
    const from = Math.floor(edge(band)), to = Math.max(from + 1, Math.ceil(edge(band + 1)));
    let power = 0;
    for (let k = from; k < to; k++) power += re[k] ** 2 + im[k] ** 2;
    bands[band] = Math.log(power / (to - from) + 1e-9);
  }
  return bands;
}

// Returns n columns that cover the samples, each band 0 (silent) to 1.
export function spectrogram(samples, rateHz, n) {
  const step = Math.max(1, (samples.length - N_FFT) / Math.max(1, n - 1));
  const columns = Array.from({length: n}, (_, i) => column(samples, Math.round(i * step), rateHz));
  const loudest = Math.max(...columns.map(bands => Math.max(...bands)), -12);
  return columns.map(bands => bands.map(x => Math.max(0, 1 + (x - loudest) / RANGE)));
}

function colour(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  return [0, 2, 4].map(i => parseInt(hex.length === 3 ? hex[i / 2].repeat(2) : hex.slice(i, i + 2), 16));
}

// A picture that scrolls to the left as sound comes.
export class Live {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  start(rateHz) {
    this.canvas.hidden = false;
    this.canvas.height = BANDS;
    this.rest = new Float32Array(0);
    this.rateHz = rateHz;
    this.every = Math.max(1, Math.round(rateHz / 8e3));
    this.loudest = -4;
    this.paper = colour("--line");
    this.ink = colour("--accent");
    this.context.fillStyle = `rgb(${this.paper})`;
    this.context.fillRect(0, 0, this.canvas.width, BANDS);
  }

  hear(block) {
    const samples = new Float32Array(this.rest.length + block.length);
    samples.set(this.rest);
    samples.set(block, this.rest.length);
    const span = N_FFT * this.every;
    let at = 0;
    for (; at + span <= samples.length; at += span / 2) this.draw(thinned(samples.subarray(at, at + span), this.every));
    this.rest = samples.slice(at);
  }

  draw(samples) {
    const bands = column(samples, 0, this.rateHz / this.every), {width} = this.canvas;
    this.loudest = Math.max(this.loudest - 0.02, ...bands);
    this.context.drawImage(this.canvas, -4, 0);
    const stripe = this.context.createImageData(4, BANDS);
    bands.forEach((x, band) => {
      const share = Math.max(0, Math.min(1, 1 + (x - this.loudest) / RANGE));
      for (let i = 0; i < 4; i++) {
        const pixel = 4 * ((BANDS - 1 - band) * 4 + i);
        for (let k = 0; k < 3; k++) stripe.data[pixel + k] = this.paper[k] + share * (this.ink[k] - this.paper[k]);
        stripe.data[pixel + 3] = 255;
      }
    });
    this.context.putImageData(stripe, width - 4, 0);
  }
}

// Averages each `every` samples: enough of a low pass for a picture.
function thinned(samples, every) {
  return Float32Array.from({length: Math.floor(samples.length / every)}, (_, i) => {
    let sum = 0;
    for (let j = 0; j < every; j++) sum += samples[i * every + j];
    return sum / every;
  });
}

// Draws two spectrograms over each other: what was heard, what the recording holds, and what is in both.
export function drawOver(canvas, heard, held) {
  const paper = colour("--card"), inks = [colour("--heard"), colour("--held"), colour("--both")];
  canvas.width = heard.length;
  canvas.height = BANDS;
  const context = canvas.getContext("2d"), picture = context.createImageData(heard.length, BANDS);
  for (let x = 0; x < heard.length; x++) {
    for (let band = 0; band < BANDS; band++) {
      const a = heard[x][band], b = held[x][band], both = Math.min(a, b), most = Math.max(a, b);
      const pixel = 4 * ((BANDS - 1 - band) * heard.length + x);
      const own = inks[a > b ? 0 : 1], share = most ? both / most : 0;
      for (let k = 0; k < 3; k++) {
        const ink = share * inks[2][k] + (1 - share) * own[k];
        picture.data[pixel + k] = paper[k] + most * (ink - paper[k]);
      }
      picture.data[pixel + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
}
