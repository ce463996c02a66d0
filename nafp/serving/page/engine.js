// What this page asks of its worker.

export class Engine {
  constructor() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), {type: "module"});
    this.waiting = new Map();
    this.n = 0;
    this.worker.onmessage = ({data: {id, result, error}}) => {
      const [resolve, reject] = this.waiting.get(id);
      this.waiting.delete(id);
      error === undefined ? resolve(result) : reject(new Error(error));
    };
    this.worker.onerror = event => {
      const reason = new Error(event.message || "the worker of this page could not start");
      for (const [, reject] of this.waiting.values()) reject(reason);
      this.waiting.clear();
    };
  }

  call(call, given) {
    const id = ++this.n;
    this.worker.postMessage({id, call, given});
    return new Promise((resolve, reject) => this.waiting.set(id, [resolve, reject]));
  }

  // Returns a clip that grows. Its sound stays in the worker.
  clip(rateHz) {
    const clip = ++this.n;
    this.call("begin", {clip, rateHz});
    return {
      hear: (block, isLast = false) => this.call("hear", {clip, block, isLast}),
      look: (speeds, shifts) => this.call("look", {clip, speeds, shifts}),
      end: () => this.call("end", {clip}),
    };
  }
}
