/**
 * A pushed model in the browser.
 *
 *     const model = await loadModel(["frontend.tflite", "classifier-int8.tflite"]); // or ["tumbao-audio.tflite"]
 *     const { probabilities, seconds } = await model.answer(samples);
 *     model.close();
 *
 * It runs on the CPU, with threads where the page is cross-origin isolated (Cross-Origin-Opener-Policy: same-origin,
 * Cross-Origin-Embedder-Policy: require-corp) and the browser has relaxed SIMD.
 */

import { loadAndCompile, loadLiteRt, supportsFeature, Tensor } from "./litert/litert.js";

/** @type {Promise<boolean> | undefined} the runtime, loaded once for all models: whether it has threads */
let runtime;

/**
 * Load .tflite files that run in sequence: the outputs of each are the inputs of the next, by name.
 *
 * @param {string[]} urls of the files; each has one signature with static shapes
 * @returns {Promise<Model>}
 */
export async function loadModel(urls) {
  runtime ??= loadRuntime();
  const threaded = await runtime;
  const contents = await Promise.all(urls.map(download));
  const files = [];
  try {
    for (const content of contents) {
      files.push(await loadAndCompile(content, { accelerator: "wasm" }));
    }
  } catch (error) {
    files.forEach((file) => file.delete());
    throw error;
  }
  return new Model(files, threaded);
}

/** One or more .tflite files in the memory of the runtime, until it is closed. */
class Model {
  #files;
  /** @type {boolean} whether it can use several cores */
  threaded;

  constructor(files, threaded) {
    this.#files = files;
    this.threaded = threaded;
  }

  /** @returns {{name: string, dtype: string, shape: Int32Array}[]} inputs of the first file */
  get inputs() {
    return this.#files[0].getInputDetails();
  }

  /** @returns {{name: string, dtype: string, shape: Int32Array}[]} outputs of the last file */
  get outputs() {
    return this.#files.at(-1).getOutputDetails();
  }

  /**
   * Classify one fragment.
   *
   * @param {Float32Array} samples mono, −1 to 1: 30 s at the model's rate; see `inputs`
   * @returns {Promise<{probabilities: Float32Array, seconds: number}>} one per genre, in the order of labels.txt
   */
  async answer(samples) {
    const { outputs, seconds } = await this.run({ waveform: samples });
    return { probabilities: outputs.probabilities, seconds };
  }

  /**
   * Run the files in sequence.
   *
   * @param {Object<string, Float32Array | Int32Array | Uint8Array>} inputs values by name, for the first file
   * @returns {Promise<{outputs: Object<string, Float32Array | Int32Array | Uint8Array>, seconds: number}>}
   *     outputs of the last file
   */
  async run(inputs) {
    const started = performance.now();
    let tensors = toTensors(inputs, this.inputs);
    try {
      for (const file of this.#files) {
        const given = await file.run(tensors);
        free(tensors);
        tensors = given;
      }
      const outputs = Object.fromEntries(
        Object.entries(tensors).map(([name, tensor]) => [name, tensor.toTypedArray()]), // copies
      );
      return { outputs, seconds: (performance.now() - started) / 1000 };
    } finally {
      free(tensors);
    }
  }

  /** Free the memory; the model cannot be used afterwards. */
  close() {
    this.#files.forEach((file) => file.delete());
    this.#files = [];
  }
}

async function loadRuntime() {
  const threads = globalThis.crossOriginIsolated && (await supportsFeature("relaxedSimd"));
  await loadLiteRt(new URL("litert/", import.meta.url).href, { threads });
  return threads;
}

async function download(url) {
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`${url}: expected a .tflite file. Received: status ${response.status}`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

function toTensors(values, details) {
  const tensors = {};
  try {
    for (const { name, dtype, shape } of details) {
      const value = values[name];
      const size = shape.reduce((product, side) => product * side, 1);
      if (value?.length !== size) {
        throw new Error(`Expected ${name}: ${dtype} [${shape.join(", ")}], ${size} values. Received: ${value?.length}`);
      }
      tensors[name] = new Tensor(value, Array.from(shape));
    }
    return tensors;
  } catch (error) {
    free(tensors);
    throw error;
  }
}

function free(tensors) {
  Object.values(tensors).forEach((tensor) => tensor.delete());
}
