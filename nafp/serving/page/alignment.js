// Corrects start and speed of the best places by the slope of their alignment: the twin of nafp.search.speeds.

import {even} from "./search.js";

// Gives each place `at`, its row in the collection, `slope`, rows of the recording per row of the clip, and `compared`,
// the row that the clip was compared from, with `half` a row added where the mean of two rows was compared.
export function aligned(index, {places, version, length}, shifts) {
  const {refined} = index.law;
  places.forEach((place, number) => {
    Object.assign(place, {at: place.start + place.half, slope: 1, compared: place.start});
    if (number < refined) fit(index, place, version, length, shifts);
  });
}

function fit(index, place, version, length, shifts) {
  const {slopes, shifted, gain} = index.law, first = Math.ceil(place.start - 1e-6);
  const phase = even((first - place.start) * shifts), own = (_, i) => i % shifts === phase;
  const n = Math.max(1, length - (phase > 0));
  const query = version.rows.filter(own).slice(0, n), heard = version.heard.filter(own).slice(0, n);
  const tried = query.length > 2 ? slopes : [1], plain = tried.indexOf(1);
  const along = tried.map(slope => shifted.map(shift => scoreAlong(index, place.track, first + shift, slope, query, heard)));
  const highest = along.map(scores => Math.max(...scores)), best = highest.indexOf(Math.max(...highest));
  const beyond = [1, 2].map(i => scoreAlong(index, place.track, first + shifted[i], 1, query, heard, "beyond"));
  const between = place.half ? place.score + (beyond[0] + beyond[1]) / 2 : 0;
  if (highest[best] - Math.max(along[plain][1], between) < gain) {
    const beside = along[plain], next = place.half && beside[2] > beside[1] ? 1 : 0;
    place.at = place.start + next + vertex(beside.slice(next, next + 3), index.law.the_same);
  } else {
    place.at = place.compared = place.start + shifted[along[best].indexOf(highest[best])];
    place.slope = tried[best];
    if (place.slope !== 1) place.half = 0;
  }
}

// Returns the mean cosine along a path. A row beyond an end of the track counts as the row at that end: it holds some of
// the track. only: "beyond" for what such rows add.
function scoreAlong(index, track, first, slope, query, heard, only) {
  const low = index.firsts[track], high = index.ends[track] - 1;
  let sum = 0;
  query.forEach((vector, j) => {
    const row = first + even(slope * j), near = Math.max(low, Math.min(high, row));
    if (heard[j] && Math.abs(row - near) < 2 && !(only && row === near)) sum += index.dot(near, vector);
  });
  return sum / Math.max(1, heard.filter(Boolean).length);
}

// Returns where the parabola through scores at -1, 0 and 1 has its top, -0.5 .. 0.5. 0 where it has none.
function vertex([left, middle, right], theSame) {
  const bend = left - 2 * middle + right;
  if (!(bend < -1e-6 && middle < theSame)) return 0;
  return Math.max(-0.5, Math.min(0.5, 0.5 * (left - right) / bend));
}
