// What plays when: answers to overlapping windows become stretches of one track each.

import {isSure} from "./asking.js";
import {clock, element, percent, titleOf} from "./names.js";

const SAME_PLACE_S = 1.5; // Two windows agree on where a track began.
const $ = id => document.getElementById(id);

// Adds the sure answers to a window to stretches {track, fromS, toS, startS, speed, probability, begunS}.
export function added(stretches, fromS, toS, answers, rules) {
  for (const answer of answers.filter(one => isSure(one, rules))) {
    const begins = fromS + Math.max(answer.from_s ?? 0, -answer.start_s / answer.speed);
    const ends = Math.min(toS, fromS + (answer.to_s ?? Infinity));
    const begunS = fromS - answer.start_s / answer.speed; // When second 0 of the track was, or would have been.
    const same = stretches.findLast(one => one.track === answer.track && begins <= one.toS + 2 * SAME_PLACE_S
      && Math.abs(one.begunS - begunS) < SAME_PLACE_S + 0.1 * Math.abs(answer.start_s));
    if (same) {
      same.toS = Math.max(same.toS, ends);
      same.probability = Math.max(same.probability ?? 0, answer.probability ?? 0) || answer.probability;
      continue;
    }
    const startS = answer.start_s + (begins - fromS) * answer.speed;
    stretches.push({track: answer.track, fromS: begins, toS: ends, startS, speed: answer.speed, begunS,
      probability: answer.probability});
  }
  stretches.sort((a, b) => a.fromS - b.fromS);
  for (let i = 1; i < stretches.length; i++) { // Of two that overlap, nobody knows more than that it is in between.
    const before = stretches[i - 1], after = stretches[i];
    if (before.toS > after.fromS && before.toS < after.toS) {
      const border = (before.toS + after.fromS) / 2;
      after.startS += (border - after.fromS) * after.speed;
      before.toS = after.fromS = border;
    }
  }
  return stretches;
}

export class Timeline {
  constructor(collection) {
    this.collection = collection;
    this.titles = new Map();
  }

  start(seconds) {
    this.seconds = seconds;
    this.stretches = [];
    this.draw();
  }

  async hear(fromS, toS, answers) {
    const n = this.stretches.length;
    added(this.stretches, fromS, toS, answers, this.collection.about.asking);
    await this.show(n);
  }

  // Adds a stretch that the server has found: the object of nafp monitor --format=json.
  async add({track, start_s: fromS, end_s: toS, track_start_s: startS, speed, probability}) {
    this.stretches.push({track, fromS, toS, startS, speed, probability});
    this.stretches.sort((a, b) => a.fromS - b.fromS);
    await this.show(1);
  }

  async show(n) {
    for (const {track} of this.stretches) {
      if (this.titles.has(track)) continue;
      const known = await this.collection.track(track).catch(() => null);
      this.titles.set(track, titleOf(track, known?.metadata));
    }
    if (n || this.stretches.length) this.draw();
  }

  draw() {
    const share = x => `${100 * x / this.seconds}%`;
    $("timeline").replaceChildren(...this.stretches.map(one => {
      const bar = element("span", this.titles.get(one.track), {title: this.titles.get(one.track)});
      bar.style.left = share(one.fromS);
      bar.style.width = share(one.toS - one.fromS);
      return bar;
    }));
    $("stretches").tBodies[0].replaceChildren(...this.stretches.map(one => {
      const row = document.createElement("tr");
      row.append(...[clock(one.fromS), clock(one.toS), this.titles.get(one.track), clock(one.startS),
        one.probability == null ? "not known" : percent(one.probability)].map(text => element("td", text)));
      return row;
    }));
  }

  summary() {
    const n = this.stretches.length;
    return n ? `${n} ${n === 1 ? "stretch" : "stretches"} of known tracks.` : "nothing of it is in the collection.";
  }
}
