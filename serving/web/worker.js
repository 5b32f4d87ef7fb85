/**
 * Worker for resampling and the model.
 *
 * A classic worker, since LiteRT.js loads its WebAssembly with importScripts, which module workers lack.
 */

const LITERT = new URL("litert/", self.location.href);

self.Module = {
  // otherwise the thread script and the WebAssembly would be expected beside this file
  mainScriptUrlOrBlob: new URL("litert_wasm_threaded_internal.js", LITERT).href,
  get locateFile() {
    return (name) => new URL(name, LITERT).href;
  },
  set locateFile(_) {}, // LiteRT.js would take it away
  printErr: (line) => (/^(INFO|WARNING)/.test(line) ? console.debug : console.error)(line),
};

const loaded = new Map(); // URL → promise of a model

function model(url) {
  if (!loaded.has(url)) {
    const loading = import("./model.js").then(({ loadModel }) => loadModel([url]));
    loading.catch(() => loaded.delete(url));
    loaded.set(url, loading);
  }
  return loaded.get(url);
}

const tasks = {
  /** Load a file and release all others. */
  async load({ keep, url }) {
    for (const [other, loading] of loaded) {
      if (!keep.includes(other)) {
        loaded.delete(other);
        (await loading).close();
      }
    }
    await model(url);
  },

  async prepare({ channels, rate, modelRate, size }) {
    const { cut, mix, resample } = await import("./audio.js");
    const samples = resample(mix(channels, rate), rate, modelRate);
    return { samples, fragments: cut(samples, modelRate, size) };
  },

  async image({ frontend, samples }) {
    return (await (await model(frontend)).run({ waveform: samples })).outputs.image;
  },

  async answer({ frontend, classifier, samples }) {
    const image = await tasks.image({ frontend, samples });
    const { outputs } = await (await model(classifier)).run({ image });
    return { image, probabilities: outputs.probabilities, distance: outputs.distance?.[0] };
  },
};

let before = Promise.resolve(); // one task at a time

self.addEventListener("message", ({ data: { id, task, values } }) => {
  before = before
    .then(() => tasks[task](values))
    .then(
      (result) => self.postMessage({ id, result }),
      (error) => self.postMessage({ id, error: { reason: error?.reason, message: String(error?.message ?? error) } }),
    );
});
