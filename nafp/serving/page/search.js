// The search of a static page: the twin of nafp.search.match, nafp.search.speeds and nafp.search.confidence.
//
// Every neighbour of query row j proposes that the query starts j rows before it. A proposed start is scored by the mean
// cosine along the diagonal, on rows or half a row on. tests/serving/test_site.py holds it against Python's answers.

import {aligned} from "./alignment.js";
import {inParts} from "./parts.js";

function halfTable() {
  return Float32Array.from({length: 1 << 16}, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * fraction / 1024);
  });
}

// Returns fingerprints as float32, of the length that they had. stored: {buffer, dtype, dim, gain}.
function decoded({buffer, dtype, dim, gain}) {
  if (dtype === "float16") {
    const table = halfTable();
    return Float32Array.from(new Uint16Array(buffer), bits => table[bits]);
  }
  const rows = Float32Array.from(new Int8Array(buffer));
  for (let at = 0; at < rows.length; at += dim) {
    let square = 0;
    for (let i = at; i < at + dim; i++) square += rows[i] ** 2;
    const factor = gain / Math.sqrt(square || 1);
    for (let i = at; i < at + dim; i++) rows[i] *= factor;
  }
  return rows;
}

export class Index {
  // stored: {buffer, dtype, dim, gain, tracks: [{name, rows}], hop_s, segment_s, law, calibration}.
  constructor(stored) {
    Object.assign(this, {dim: stored.dim, hopS: stored.hop_s, segmentS: stored.segment_s, law: stored.law,
      calibration: stored.calibration, tracks: stored.tracks, rows: decoded(stored)});
    this.n = this.rows.length / this.dim;
    this.firsts = [];
    this.trackOf = new Int32Array(this.n);
    let row = 0;
    this.tracks.forEach((track, number) => {
      this.firsts.push(row);
      this.trackOf.fill(number, row, row += track.rows);
    });
    this.ends = this.tracks.map((track, number) => this.firsts[number] + track.rows);
  }

  dot(row, vector) {
    const at = Math.max(0, Math.min(this.n - 1, row)) * this.dim, rows = this.rows;
    let sum = 0;
    for (let i = 0; i < vector.length; i++) sum += rows[at + i] * vector[i];
    return sum;
  }

  row(row) {
    const at = Math.max(0, Math.min(this.n - 1, row)) * this.dim;
    return this.rows.subarray(at, at + this.dim);
  }

  isInside(track, row) {
    return row >= this.firsts[track] && row < this.ends[track];
  }

  // Returns the inner product of a vector with every row. Four sums at a time: one would wait for itself.
  products(vector) {
    const {rows, dim, n} = this, all = new Float32Array(n), whole = dim - dim % 4;
    for (let row = 0, at = 0; row < n; row++, at += dim) {
      let a = 0, b = 0, c = 0, d = 0;
      for (let i = 0; i < whole; i += 4) {
        a += rows[at + i] * vector[i];
        b += rows[at + i + 1] * vector[i + 1];
        c += rows[at + i + 2] * vector[i + 2];
        d += rows[at + i + 3] * vector[i + 3];
      }
      for (let i = whole; i < dim; i++) a += rows[at + i] * vector[i];
      all[row] = a + b + c + d;
    }
    return all;
  }

  // Returns the nearest rows of a vector, by exhaustive search.
  nearest(vector) {
    const cosines = this.products(vector), {k} = this.law;
    let best = [], least = -Infinity;
    const cut = () => {
      best = best.sort((a, b) => cosines[b] - cosines[a]).slice(0, k);
      if (best.length === k) least = cosines[best[k - 1]];
    };
    for (let row = 0; row < this.n; row++) {
      if (cosines[row] > least && best.push(row) === 8 * k) cut();
    }
    cut();
    return best;
  }

  // Returns the cosine of a vector with a row of a track, 0 beyond its ends.
  onRow(track, row, vector) {
    return this.isInside(track, row) ? this.dot(row, vector) : 0;
  }

  // Returns the cosine of a vector with the mean of a row of a track and the next one, brought to unit length.
  between(track, row, vector) {
    const a = this.isInside(track, row), b = this.isInside(track, row + 1);
    const sum = (a ? this.dot(row, vector) : 0) + (b ? this.dot(row + 1, vector) : 0);
    return sum / Math.sqrt(Math.max(1, a + b + (a && b ? 2 * this.withNext(row) : 0)));
  }

  // Returns the inner product of a row and the next one. It is computed once.
  withNext(row) {
    this.nexts ??= new Float32Array(this.n).fill(NaN);
    if (Number.isNaN(this.nexts[row])) this.nexts[row] = this.dot(row, this.row(row + 1));
    return this.nexts[row];
  }

  // look: of clip.js. Returns a reply as nafp.identify has it.
  identify({speeds, counts, vectors, shifts}, top, least) {
    let at = 0;
    const versions = speeds.map((speed, number) => {
      const rows = Array.from({length: counts[number]}, () => vectors.subarray(at * this.dim, ++at * this.dim));
      const heard = rows.map(row => row.some(x => x));
      return {speed, rows, heard, near: rows.map((row, i) => heard[i] && this.n ? this.nearest(row) : [])};
    });
    const heardRows = versions[0].heard.filter((_, i) => i % shifts === 0);
    const ranking = this.n ? this.ranked(versions, shifts) : {places: [], elsewhere: 0};
    const whole = this.answers(ranking, heardRows, top);
    const answers = this.n ? inParts(this, ranking, versions, shifts, whole).slice(0, top) : whole;
    return {answers: answers.filter(({probability}) => probability === null || probability >= least)};
  }

  // Ranks the places of a clip by the version that stands out most.
  ranked(versions, shifts) {
    const {score_share: share, handicap} = this.law;
    let best, most = -Infinity;
    for (const version of versions) {
      const length = Math.ceil(version.rows.length / shifts);
      const ranking = this.rank(version, Math.max(1, length), shifts), [first] = ranking.places;
      const standing = first && length
        ? first.score - ranking.elsewhere + share * first.score - (version.speed === 1 ? 0 : handicap) : -Infinity;
      if (!best || standing > most) [best, most] = [{...ranking, version, length}, standing];
    }
    aligned(this, best, shifts);
    return best;
  }

  // Ranks the starts of one version over its first `length` rows: {places: [{track, start, half, score}], elsewhere}.
  rank(version, length, shifts) {
    const places = [];
    for (let phase = 0; phase < shifts; phase++) {
      const own = (_, i) => i % shifts === phase;
      const query = version.rows.filter(own), heard = version.heard.filter(own);
      const n = Math.min(length - (phase > 0), query.length);
      if (n > 0) places.push(...this.scored(query, heard, version.near.filter(own), n, phase / shifts));
    }
    places.sort((a, b) => b.score - a.score);
    return {places, elsewhere: this.elsewhere(places, length)};
  }

  scored(query, heard, near, n, late) {
    const nHeard = Math.max(1, heard.slice(0, n).filter(Boolean).length);
    return this.proposed(near.slice(0, n), true).map(([track, start]) => {
      let onRows = 0, between = 0;
      for (let j = 0; j < n; j++) {
        if (!heard[j]) continue;
        onRows += this.onRow(track, start + j, query[j]);
        between += this.between(track, start + j, query[j]);
      }
      const half = between > onRows ? 0.5 : 0;
      return {track, start: start - late, half, score: Math.max(onRows, between) / nHeard};
    });
  }

  // Returns the distinct proposals, [track, start] each, by start and track. withBefore: and the starts before them.
  proposed(near, withBefore) {
    const found = new Map();
    near.forEach((rows, offset) => {
      for (const row of rows) {
        for (const start of withBefore ? [row - offset, row - offset - 1] : [row - offset]) {
          const track = this.trackOf[row];
          found.set(`${start} ${track}`, [track, start]);
        }
      }
    });
    return [...found.values()].sort((a, b) => a[1] - b[1] || a[0] - b[0]);
  }

  // Returns the best score of another recording, 0 if there is none. A track whose best place holds the recording of the
  // first place is a copy of it.
  elsewhere(places, length) {
    const [best] = places, seen = new Set();
    const others = places.filter(({track}) => !seen.has(track) && seen.add(track)).slice(1);
    return others.find(place => this.likeness(best, place, length) < this.law.twin_cosine)?.score ?? 0;
  }

  // Returns the mean cosine of the rows at two places, the other at its row or one beside, whichever fits best.
  likeness(best, other, length) {
    const own = even(best.start), from = even(other.start), sums = [0, 0, 0];
    let n = 0;
    for (let j = 0; j < length; j++) {
      if (!this.isInside(best.track, own + j)) continue;
      n++;
      sums.forEach((_, late) => sums[late] += this.onRow(other.track, from + late - 1 + j, this.row(own + j)));
    }
    return Math.max(...sums) / Math.max(1, n);
  }

  answers({places, elsewhere, version}, heardRows, top) {
    const seen = new Set(), best = places.filter(({track}) => !seen.has(track) && seen.add(track)).slice(0, top);
    const length = heardRows.filter(Boolean).length, toS = (heardRows.length - 1) * this.hopS + this.segmentS;
    return best.map(place => {
      const margin = place.score - elsewhere;
      return {
        number: place.track,
        track: this.tracks[place.track].name,
        start_s: (place.at - this.firsts[place.track]) * this.hopS,
        score: place.score,
        probability: this.probability(length, place.score, margin),
        margin,
        speed: version.speed * place.slope,
        from_s: 0,
        to_s: toS,
      };
    });
  }

  probability(length, score, margin) {
    if (!this.calibration) return null;
    const {lengths, weights, elsewhere} = this.calibration;
    const at = values => interpolated(length, lengths, values);
    if (elsewhere) margin = Math.min(margin, score - at(elsewhere));
    const [bias, ofMargin, ofScore] = [0, 1, 2].map(i => at(weights.map(row => row[i])));
    return 1 / (1 + Math.exp(-Math.max(-60, Math.min(60, bias + ofMargin * margin + ofScore * score))));
  }
}

function interpolated(x, at, values) {
  const right = at.findIndex(one => one >= x);
  if (right === 0) return values[0];
  if (right < 0) return values.at(-1);
  const share = (x - at[right - 1]) / (at[right] - at[right - 1]);
  return values[right - 1] + share * (values[right] - values[right - 1]);
}

// Rounds to the nearest whole number, halves to the even one, as numpy does.
export function even(x) {
  const whole = Math.round(x);
  return Math.abs(x % 1) === 0.5 && whole % 2 ? whole - 1 : whole;
}
