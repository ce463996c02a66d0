// A file: a clip is identified, a long recording is looked through window by window.

import {ask, isProbable} from "./asking.js";
import {hideAnswer, showAnswer} from "./shown.js";
import {continued, decoded} from "./sound.js";
import {secondsOf, streamed} from "./stream.js";
import {Timeline} from "./timeline.js";

const WINDOW_S = 10, STEP_S = 5, CLOSER_EVERY = 3; // A closer look at every third window that gives nothing.
const $ = id => document.getElementById(id);

export class FileDrop {
  constructor(engine, collection) {
    Object.assign(this, {engine, collection, number: 0, timeline: new Timeline(collection)});
    const area = $("drop"), over = isOver => event => {
      event.preventDefault();
      area.classList.toggle("over", isOver);
    };
    area.addEventListener("dragover", over(true));
    area.addEventListener("dragleave", over(false));
    area.addEventListener("drop", event => {
      over(false)(event);
      if (event.dataTransfer.files.length && !$("file-input").disabled) this.take(event.dataTransfer.files[0]);
    });
    // A file dropped beside the area would replace this page.
    for (const kind of ["dragover", "drop"]) addEventListener(kind, event => event.preventDefault());
    $("file-input").addEventListener("change", ({target}) => {
      if (target.files.length) this.take(target.files[0]);
      target.value = "";
    });
    $("long-stop").addEventListener("click", () => this.number++);
  }

  async take(file) {
    const number = ++this.number;
    hideAnswer();
    $("long").hidden = true;
    this.collection.sentBytes = 0;
    this.tell(`Reading ${file.name} …`);
    try {
      if ($("send-sound").checked && this.collection.canSend) return await this.send(file, number);
      const rateHz = 2 * this.collection.about.network.sample_rate_hz; // As nafp.identify.identifier listens.
      const samples = await decoded(file, rateHz).catch(() => {
        throw new Error(`${file.name}: this browser cannot decode it.`
          + (this.collection.canSend ? " The server may: see Options." : ""));
      });
      if (number !== this.number) return;
      const isLong = samples.length > this.collection.about.asking.longest_s * rateHz;
      await (isLong ? this.look(samples, rateHz, number, file.name) : this.identify(samples, rateHz, number, file.name));
    } catch (error) {
      if (number === this.number) this.tell(error.message);
    }
  }

  async send(file, number) {
    const seconds = await secondsOf(file);
    if (number !== this.number) return;
    if (seconds > this.collection.about.asking.longest_s) return await this.monitor(file, seconds, number);
    const reply = await this.collection.identifySound(file, 4);
    if (number === this.number) await this.show(reply, null, file.name);
  }

  async identify(samples, rateHz, number, name) {
    const {asking: {brief}, network: {segment_s: segmentS}} = this.collection.about, leastS = brief * segmentS;
    if (samples.length < leastS * rateHz) throw new Error(`${name}: is shorter than ${leastS} s.`);
    this.tell(`Listening to ${name} …`);
    const clip = this.engine.clip(rateHz);
    try {
      const {whole, before} = continued(samples, Math.ceil(segmentS * rateHz));
      clip.hear(whole, true);
      const reply = await ask(clip, this.collection);
      if (before) reply.answers.forEach(answer => (answer.start_s += before / rateHz));
      if (number === this.number) await this.show(reply, {samples, rateHz}, name);
    } finally {
      clip.end();
    }
  }

  async show(reply, sound, name) {
    const likely = reply.answers.filter(answer => isProbable(answer, this.collection.about.asking));
    this.tell(likely.length ? `${name}: found.` : reply.silent ? `${name}: silence.` : `${name}: not in the collection.`);
    if (!likely.length) return;
    await showAnswer(this.collection, likely, sound, sound ? sound.samples.length / sound.rateHz : reply.seconds);
    $("answer").focus();
  }

  // Looks through a long recording.
  async look(samples, rateHz, number, name) {
    const seconds = samples.length / rateHz;
    this.beginLong(seconds);
    let n = 0, isFast = false;
    for (let atS = 0; atS === 0 || atS + STEP_S < seconds; atS += STEP_S, n++) {
      this.showShare(name, atS / seconds);
      const clip = this.engine.clip(rateHz);
      clip.hear(samples.slice(Math.round(atS * rateHz), Math.round((atS + WINDOW_S) * rateHz)), true);
      const reply = await ask(clip, this.collection, isFast || n % CLOSER_EVERY === 0).finally(() => clip.end());
      if (number !== this.number) break;
      isFast = reply.answers.length > 0 && reply.answers[0].speed !== 1;
      await this.timeline.hear(atS, Math.min(atS + WINDOW_S, seconds), reply.answers);
    }
    this.endLong(name, number);
  }

  // Has the server listen to a long recording.
  async monitor(file, seconds, number) {
    this.beginLong(seconds);
    this.collection.sentBytes += file.size;
    const isOver = () => number !== this.number, shown = [];
    try {
      await streamed(this.collection.streamAddress, file, event => {
        if (isOver()) return;
        if (event.event === "sent") this.showShare(file.name, event.share);
        if (event.event === "stretch") shown.push(this.timeline.add(event));
      }, isOver);
      await Promise.all(shown);
    } catch (error) {
      $("long").hidden = true;
      throw error;
    }
    this.endLong(file.name, number);
  }

  beginLong(seconds) {
    this.tell("");
    $("long").hidden = $("long-stop").hidden = $("long-progress").hidden = false;
    this.timeline.start(seconds);
  }

  showShare(name, share) {
    $("long-status").textContent = `Listening to ${name}: ${Math.round(100 * share)} %`;
    $("long-progress").value = share;
  }

  endLong(name, number) {
    const stopped = number === this.number ? "" : " Stopped.";
    if (stopped && $("long").hidden) return; // By the next file.
    $("long-status").textContent = `${name}: ${this.timeline.summary()}${stopped}`;
    $("long-stop").hidden = $("long-progress").hidden = true;
  }

  tell(text) {
    $("drop").querySelector("span").textContent = text
      || "Drop an audio file here, or choose one. A long one becomes a list of what plays when.";
  }
}
