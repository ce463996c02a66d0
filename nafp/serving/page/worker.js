// A thread of its own for everything that takes time: resampling, the network, and the search of a static page.

import {Clip} from "./clip.js";
import {Network} from "./network.js";
import {Index} from "./search.js";

let network, index, rules;
const clips = new Map();

const calls = {
  async open({address, about, asking}) {
    rules = asking;
    network = await Network.open(address, about);
  },
  async openIndex(stored) {
    index = new Index(stored);
  },
  begin({clip, rateHz}) {
    clips.set(clip, new Clip(network, rules, rateHz));
  },
  hear({clip, block, isLast}) {
    clips.get(clip)?.hear(block, isLast);
  },
  look({clip, speeds, shifts}) {
    return clips.get(clip).look(speeds, shifts);
  },
  end({clip}) {
    clips.delete(clip);
  },
  identify({look, top, least}) {
    return index.identify(look, top, least);
  },
};

// One call after the other, as they come: the session of the network does one thing at a time.
let last = Promise.resolve();
self.onmessage = ({data: {id, call, given}}) => {
  last = last.then(async () => {
    try {
      self.postMessage({id, result: await calls[call](given)});
    } catch (error) {
      self.postMessage({id, error: String(error?.message ?? error)});
    }
  });
};
