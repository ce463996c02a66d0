// Hands the microphone's samples over as they come, averaged over its channels.
registerProcessor("tap", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) {
      const mono = channels[0].slice();
      for (const other of channels.slice(1)) for (let i = 0; i < mono.length; i++) mono[i] += other[i];
      for (let i = 0; i < mono.length; i++) mono[i] /= channels.length;
      this.port.postMessage(mono, [mono.buffer]);
    }
    return true;
  }
});
