/** The model in this browser: its files, and the worker that runs them. */

import { SongError } from "./audio.js";
import { rateOf } from "./rate.js";
import { songValues } from "./song.js";

const PRECISIONS = ["int8", "dynamic", "float16"]; // the first that there is, as everywhere
const MODEL = new URL("v1/model", document.baseURI);

/** @type {Worker | undefined} */
let worker;
let lastId = 0;
const waiting = new Map();

function run(task, values, transfer = []) {
  if (!worker) {
    worker = new Worker(new URL("worker.js", import.meta.url));
    worker.addEventListener("message", ({ data: { id, result, error } }) => {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error) reject(error.reason ? new SongError(error.reason) : new Error(error.message));
      else resolve(result);
    });
    worker.addEventListener("error", () => {
      waiting.forEach(({ reject }) => reject(new Error("expected worker.js, and a browser that runs it")));
      waiting.clear();
      worker = undefined;
    });
  }
  return new Promise((resolve, reject) => {
    waiting.set(++lastId, { resolve, reject });
    worker.postMessage({ id: lastId, task, values }, transfer);
  });
}

/** The current version of the model. */
export class Model {
  /** @returns {Promise<Model>} current model of the server, or the cached one */
  static async current() {
    const response = await fetch(MODEL);
    if (!response.ok) throw new SongError("no model");
    return new Model(await response.json());
  }

  constructor({ model, card, files }) {
    const urls = Object.fromEntries(files.map(({ name, url }) => [name, new URL(url, MODEL).href]));
    const precision = PRECISIONS.find((one) => one in card.files);
    this.identity = model;
    this.card = card;
    this.frontend = urls[card.files.frontend.name];
    this.classifier = urls[card.files[precision].name];
    const { sample_rate_hz: rate, fragment_seconds: seconds } = card.mel;
    this.rate = rate;
    this.size = rate * seconds;
  }

  /** Load the front-end; models of earlier versions are released. */
  async loadFrontend() {
    await run("load", { url: this.frontend, keep: [this.frontend, this.classifier] });
  }

  /**
   * Decode a file at its own rate, and cut it into fragments.
   *
   * @param {File} file a file that this browser can decode
   * @returns {Promise<{samples: Float32Array, fragments: object[]}>} see audio.js
   */
  async prepare(file) {
    const content = await file.arrayBuffer();
    if (!content.byteLength) throw new SongError("empty");
    const rate = rateOf(content);
    const decoder = new OfflineAudioContext(1, 1, rate); // decodes to its own rate
    const sound = await decoder.decodeAudioData(content).catch(() => {
      throw new SongError("unsupported");
    });
    const channels = Array.from({ length: sound.numberOfChannels }, (_, at) => sound.getChannelData(at));
    return run("prepare", { channels, rate, modelRate: this.rate, size: this.size });
  }

  /** @returns {Promise<Uint8Array>} mel image of a fragment: RGB, row by row */
  image(samples) {
    return run("image", { frontend: this.frontend, samples: samples.slice() }); // else all of the song would go with them
  }

  /**
   * Classify as the API does.
   *
   * @param {File} file the song
   * @param {{samples: Float32Array, fragments: object[]}} sound result of `prepare`
   * @param {(share: number) => void} onProgress called with the progress, 0 to 1
   * @returns {Promise<object>} the API's `ClassifiedFile`
   */
  async answer(file, { samples, fragments }, onProgress) {
    const predicted = [];
    const loud = fragments.filter(({ silent }) => !silent);
    for (const fragment of loud) {
      const { frontend, classifier } = this;
      const output = await run("answer", { frontend, classifier, samples: fragment.samples.slice() });
      predicted.push({ ...fragment, ...output });
      onProgress(predicted.length / loud.length);
    }
    const sound = { seconds: samples.length / this.rate, silent: fragments.length - loud.length };
    return {
      file: file.name,
      file_bytes: file.size,
      status: 200,
      model: this.identity,
      synthetic_training_data: this.card.training_data.synthetic,
      decision: this.card.decision ?? "blessed",
      ...songValues(predicted, sound, this.card),
    };
  }
}
