// Finds the parts of a clip that hold a recording: the twin of nafp.search.parts and of nafp.identify's _in_parts.
//
// Along a diagonal, a cosine above `floor` is evidence that the recording is heard there, one below is evidence
// against. The part with the largest sum is where it is heard.

import {even} from "./search.js";

// Returns the answers to a clip: those for its parts, if these are sure and the clip is not one track throughout.
// ranking: of Index.ranked. answers: to the whole clip, each with the `number` of its track.
export function inParts(index, ranking, versions, shifts, answers) {
  const {sure} = index.law.parts, isSure = answers.length > 0 && answers[0].probability >= sure;
  if (!index.calibration || (isSure && isThroughout(index, ranking, shifts))) return answers;
  let best = [];
  for (const version of versions) {
    const found = answered(index, version, shifts);
    if (found.length && (!best.length || found[0].score > best[0].score + index.law.handicap)) best = found;
  }
  if (!best.length || (isSure && best.length === 1 && best[0].number === answers[0].number)) return answers;
  const taken = new Set(best.map(({number}) => number));
  const rest = answers.filter(({number}) => !taken.has(number)); // They explain no part, and are no answers.
  return [...best, ...rest.map(answer => ({...answer, probability: 0}))];
}

// Returns whether the best place is heard from the beginning of a clip to its end, about.
function isThroughout(index, {places: [place], version, length}, shifts) {
  const first = Math.ceil(place.compared - 1e-6), phase = Math.round((first - place.compared) * shifts);
  const query = version.rows.filter((_, i) => i % shifts === phase).slice(0, Math.max(1, length - (phase > 0)));
  const cosines = query.map((vector, j) => place.half ? index.between(place.track, first + j, vector)
    : index.onRow(place.track, first + even(j * place.slope), vector));
  const spoken = version.heard.filter((_, i) => i % shifts === 0).slice(0, cosines.length);
  if (!spoken.includes(true)) return true;
  const [from, stop] = heardRows(cosines, index.law.parts.floor), aside = index.law.parts.aside_s / index.hopS;
  return from - spoken.indexOf(true) < aside && spoken.lastIndexOf(true) + 1 - stop < aside;
}

// Returns the sure answers for parts of one version of a clip.
function answered(index, version, shifts) {
  const own = (_, i) => i % shifts === 0, {hopS, segmentS, law: {parts: {sure}}} = index;
  return found(index, version.rows.filter(own), version.heard.filter(own), version.near.filter(own)).map(part => {
    const margin = part.score - part.elsewhere;
    return {
      number: part.track,
      track: index.tracks[part.track].name,
      start_s: (part.start - index.firsts[part.track]) * hopS,
      score: part.score,
      probability: index.probability(part.stop - part.first, part.score, margin),
      margin,
      speed: version.speed,
      from_s: part.first * hopS / version.speed,
      to_s: ((part.stop - 1) * hopS + segmentS) / version.speed,
    };
  }).filter(({probability}) => probability >= sure);
}

// Lists the parts of a clip, most evidence first. They do not overlap.
function found(index, query, heard, near) {
  const lines = diagonals(index, query, heard, near), isFree = [...heard], parts = [];
  while (lines.length && parts.length < index.law.parts.most) {
    const part = mostEvident(index, lines, isFree);
    if (!part) break;
    parts.push(part);
    isFree.fill(false, part.first, part.stop);
  }
  return parts;
}

// Returns the cosines along every proposed start, on rows or half a row on, whichever has more evidence.
function diagonals(index, query, heard, near) {
  const {floor} = index.law.parts;
  return index.proposed(near, false).map(([track, start]) => {
    const onRows = query.map((vector, j) => heard[j] ? index.onRow(track, start + j, vector) : 0);
    const between = query.map((vector, j) => heard[j] ? index.between(track, start + j, vector) : 0);
    const isBetween = most(between, floor) > most(onRows, floor);
    return {track, start, half: isBetween ? 0.5 : 0, cosines: isBetween ? between : onRows};
  });
}

function mostEvident(index, lines, isFree) {
  const {floor, least_evidence: leastEvidence, least_rows: leastRows} = index.law.parts;
  const free = lines.map(line => line.cosines.map((cosine, j) => isFree[j] ? cosine : 0));
  const gains = free.map(cosines => most(cosines, floor)), gain = gains.reduce((a, b) => Math.max(a, b));
  const best = gains.indexOf(gain), [first, stop] = heardRows(free[best], floor);
  if (gain < leastEvidence || stop - first < leastRows) return null;
  const nFree = Math.max(1, isFree.slice(first, stop).filter(Boolean).length);
  const places = lines.map(({track, start}, number) => ({
    track, start: start + first, number, score: free[number].slice(first, stop).reduce((a, b) => a + b) / nFree,
  }));
  const [own] = places.splice(best, 1);
  places.sort((a, b) => b.score - a.score);
  const {track, start, half} = lines[best];
  const elsewhere = index.elsewhere([own, ...places], stop - first);
  return {track, start: start + half, first, stop, score: own.score, elsewhere};
}

// Yields the largest sum of evidence that ends before each row. Rows that say nothing add none.
function* sums(cosines, floor) {
  let sum = 0, least = 0;
  yield 0;
  for (const cosine of cosines) {
    sum += cosine ? cosine - floor : 0;
    least = Math.min(least, sum);
    yield sum - least;
  }
}

function most(cosines, floor) {
  let largest = 0;
  for (const sum of sums(cosines, floor)) largest = Math.max(largest, sum);
  return largest;
}

// Returns the rows [first, stop] of a diagonal at which its recording is heard: those with most evidence.
function heardRows(cosines, floor) {
  const gains = [...sums(cosines, floor)], stop = gains.indexOf(Math.max(...gains));
  let first = stop, sum = 0, largest = -Infinity;
  for (let j = stop - 1; j >= 0; j--) { // From the last row back.
    sum += cosines[j] ? cosines[j] - floor : 0;
    if (sum > largest) [largest, first] = [sum, j];
  }
  return [first, stop];
}
