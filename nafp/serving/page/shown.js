// The answer, as a person sees it.

import {drawOver, spectrogram} from "./pictures.js";
import {resample} from "./sound.js";
import {byOf, clock, element, percent, titleOf} from "./names.js";

const COLUMNS = 320, PICTURE_HZ = 8000, MOST_S = 20;
const $ = id => document.getElementById(id);
let shownNumber = 0;

export function hideAnswer() {
  shownNumber++;
  $("answer").hidden = true;
  $("reference").pause();
}

// Shows the answers to a clip, best first. sound: {samples, rateHz} of the clip, for the picture, or null. seconds: of
// the clip when it was asked; more of it may have been heard since.
export async function showAnswer(collection, answers, sound, seconds) {
  const number = ++shownNumber, [best, ...others] = answers;
  const track = await collection.track(best.track).catch(() => null);
  if (number !== shownNumber) return;
  $("answer-title").textContent = titleOf(best.track, track?.metadata);
  $("answer-title").title = best.track;
  $("answer-by").textContent = byOf(track?.metadata);
  const length = track ? ` of ${clock(track.seconds)}` : "";
  $("answer-place").textContent = `${clock(best.start_s, true)}${length}${partOf(best, seconds)}`;
  $("answer-sure").textContent = best.probability === null ? "not known" : percent(best.probability);
  $("answer-score").textContent = `${best.score.toFixed(2)}, ${best.margin.toFixed(2)} ahead`;
  $("answer-speed-row").hidden = Math.abs(best.speed - 1) < 0.005;
  $("answer-speed").textContent = `${best.speed > 1 ? "+" : ""}${(100 * (best.speed - 1)).toFixed(1)} %`;
  const likely = others.filter(answer => answer.probability === null || answer.probability >= 0.01);
  const rest = await Promise.all(likely.map(answer => collection.track(answer.track).catch(() => null)));
  if (number !== shownNumber) return;
  $("others").ariaLabel = likely.some(answer => isPart(answer, seconds)) ? "Also in this clip" : "Less likely";
  $("others").replaceChildren(...likely.map((answer, i) => element(
    "li", `${titleOf(answer.track, rest[i]?.metadata)} at ${clock(answer.start_s)}${partOf(answer, seconds)}`
      + (answer.probability === null ? "" : `, ${percent(answer.probability)}`))));
  $("passage").hidden = $("player").hidden = true;
  $("answer").hidden = false;
  if (sound) await showPassage(collection, track, best, sound, seconds, number).catch(() => {});
}

// Returns whether an answer is heard in a part of the clip only, give or take the second of its last fingerprint.
function isPart(answer, seconds) {
  return answer.to_s != null && (answer.from_s > 0 || answer.to_s < seconds - 1.2);
}

function partOf(answer, seconds) {
  return isPart(answer, seconds) ? `, heard from ${clock(answer.from_s)} to ${clock(answer.to_s)} of the clip` : "";
}

// Draws the passage that was heard over that of the recording, and lets it be played from there.
async function showPassage(collection, track, answer, {samples, rateHz}, seconds, number) {
  const toS = Math.min(isPart(answer, seconds) ? answer.to_s : Infinity, samples.length / rateHz);
  let fromS = Math.max(answer.from_s ?? 0, -answer.start_s / answer.speed);
  fromS = Math.max(fromS, toS - MOST_S);
  const startS = Math.max(0, answer.start_s + fromS * answer.speed);
  const address = collection.excerpt(track, startS, 30);
  if (!address || toS - fromS < 1) return;
  const file = await (await collection.request(address)).arrayBuffer();
  const [recording, recordingHz] = unpacked(file);
  if (number !== shownNumber) return;
  $("reference").src = address;
  $("player").hidden = false;
  const held = resample(recording.subarray(0, Math.round((toS - fromS) * answer.speed * recordingHz)), recordingHz, PICTURE_HZ);
  const heard = resample(samples.subarray(Math.round(fromS * rateHz), Math.round(toS * rateHz)), Math.round(rateHz), PICTURE_HZ);
  const picture = $("passage-picture");
  drawOver(picture, spectrogram(heard, PICTURE_HZ, COLUMNS), spectrogram(held, PICTURE_HZ, COLUMNS));
  picture.setAttribute("aria-label", `Spectrograms of ${(toS - fromS).toFixed(1)} seconds, what was heard and what `
    + `the recording holds from ${clock(startS, true)} on, over each other`);
  $("passage").hidden = false;
}

// Returns the samples and the rate of a WAV file as the server writes it: mono, 16 bits.
function unpacked(file) {
  const head = new DataView(file), data = new Int16Array(file.slice(44));
  return [Float32Array.from(data, x => x / 32768), head.getUint32(24, true)];
}
