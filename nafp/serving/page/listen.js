// The button: listens, asks after each second, and stops as soon as the answer is sure.

import {ask, isProbable, isSure} from "./asking.js";
import {openMicrophone} from "./microphone.js";
import {Live} from "./pictures.js";
import {hideAnswer, showAnswer} from "./shown.js";
import {joined, resample, wav} from "./sound.js";
import {bytes} from "./names.js";

const LONGEST_S = 20; // Then it is in the collection, or not.
const MARGIN_S = 0.05; // Sound that the resampler still holds back.
const CLOSER_FROM_S = 3; // Closer looks take five times as long: not after the first seconds.
const SOUND_EVERY_S = 3, SOUND_HZ = 16_000; // Where the sound itself is sent.
const $ = id => document.getElementById(id);

export class Listener {
  constructor(engine, collection) {
    Object.assign(this, {engine, collection, live: new Live($("live")), isOn: false});
    $("listen-button").addEventListener("click", () => (this.isOn ? this.stop("Stopped.") : this.start()));
  }

  async start() {
    hideAnswer();
    this.isOn = true;
    this.blocks = [];
    this.n = this.asked = this.collection.sentBytes = 0;
    this.press(true, "Opening the microphone …");
    try {
      this.microphone = await openMicrophone(block => this.hear(block));
      if (!this.isOn) return this.close();
      this.clip = this.sendsSound ? null : this.engine.clip(this.microphone.rateHz);
      this.blocks.forEach(block => this.clip?.hear(block));
      this.live.start(this.microphone.rateHz);
      this.press(true, "Listening …");
    } catch (error) {
      this.stop(error.message);
    }
  }

  get sendsSound() {
    return $("send-sound").checked;
  }

  hear(block) {
    if (!this.isOn) return;
    this.blocks.push(block);
    this.n += block.length;
    if (!this.microphone) return;
    this.clip?.hear(block);
    this.live.hear(block);
    const seconds = Math.floor(this.n / this.microphone.rateHz - MARGIN_S);
    if (seconds > this.asked && !this.isAsking && (this.clip || seconds % SOUND_EVERY_S === 0)) {
      this.asked = seconds;
      this.isAsking = true;
      this.ask(seconds).finally(() => (this.isAsking = false));
    }
  }

  async ask(seconds) {
    const run = this.blocks; // A new start has other blocks.
    try {
      const reply = await this.reply(seconds);
      if (!this.isOn || run !== this.blocks) return;
      this.tellSent();
      await this.judge(reply, seconds);
    } catch (error) {
      if (this.isOn && run === this.blocks) this.stop(error.message);
    }
  }

  reply(seconds) {
    if (this.clip) return ask(this.clip, this.collection, seconds >= CLOSER_FROM_S);
    const {samples, rateHz} = this.sound();
    return this.collection.identifySound(wav(resample(samples, rateHz, SOUND_HZ), SOUND_HZ), 4);
  }

  async judge(reply, seconds) {
    const rules = this.collection.about.asking, [best] = reply.answers, sound = this.sound();
    if (isSure(best, rules)) {
      this.stop(`Found after ${seconds} ${seconds === 1 ? "second" : "seconds"} of sound.`);
      await showAnswer(this.collection, reply.answers, sound, seconds);
      $("answer").focus({preventScroll: false});
    } else if (seconds >= Math.min(LONGEST_S, rules.longest_s)) {
      this.stop(isProbable(best, rules) ? "Not sure, but perhaps this:" : reply.silent
        ? "Nothing but silence was heard. Is this the right microphone?" : "Not in the collection.");
      if (isProbable(best, rules)) await showAnswer(this.collection, reply.answers, sound, seconds);
    } else {
      $("status").textContent = reply.silent ? "Listening … it is silent so far." : isProbable(best, rules)
        ? "Listening … there is an idea, not a sure one yet." : "Listening …";
    }
  }

  sound() {
    return {samples: joined(this.blocks), rateHz: this.microphone.rateHz};
  }

  tellSent() {
    const n = this.collection.sentBytes;
    $("sent").textContent = !this.collection.canSend ? "Everything is computed on this device." : this.clip
      ? `The sound stays on this device. ${bytes(n)} of fingerprints were sent.` : `${bytes(n)} of sound were sent.`;
  }

  stop(text) {
    this.isOn = false;
    this.close();
    this.press(false, text);
  }

  close() {
    this.microphone?.close();
    this.clip?.end();
    this.microphone = this.clip = null;
  }

  press(isOn, text) {
    $("listen-button").setAttribute("aria-pressed", isOn);
    $("listen-button").querySelector("span").textContent = isOn ? "Stop" : "Listen";
    $("status").textContent = text;
  }
}
