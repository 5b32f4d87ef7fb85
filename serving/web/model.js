/**
 * A pushed model in the browser: no sound leaves the computer.
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
 * Load .tflite files that work in a row: each takes by name what the one before it gives.
 *
 * @param {string[]} urls where they lie; each has one signature with static shapes
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
  /** @type {boolean} whether it may use several cores */
  threaded;

  constructor(files, threaded) {
    this.#files = files;
    this.threaded = threaded;
  }

  /** @returns {{name: string, dtype: string, shape: Int32Array}[]} what the first file takes */
  get takes() {
    return this.#files[0].getInputDetails();
  }

  /** @returns {{name: string, dtype: string, shape: Int32Array}[]} what the last file gives */
  get gives() {
    return this.#files.at(-1).getOutputDetails();
  }

  /**
   * Answer for one fragment.
   *
   * @param {Float32Array} samples mono, −1 to 1: as a rule 661,500, which is 30 s at 22,050 Hz; `takes` tells
   * @returns {Promise<{probabilities: Float32Array, seconds: number}>} one of each genre, in the order of labels.txt
   */
  async answer(samples) {
    const { outputs, seconds } = await this.run({ waveform: samples });
    return { probabilities: outputs.probabilities, seconds };
  }

  /**
   * Run the files in a row.
   *
   * @param {Object<string, Float32Array | Int32Array | Uint8Array>} inputs values by name, for the first file
   * @returns {Promise<{outputs: Object<string, Float32Array | Int32Array | Uint8Array>, seconds: number}>}
   *     what the last file gives
   */
  async run(inputs) {
    const started = performance.now();
    let tensors = toTensors(inputs, this.takes);
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

  /** Free the memory; the model cannot answer after that. */
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
