/** Inference for a program that drives this page, see serving/browser.py. */

import { loadModel } from "./model.js";

const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
let model;
let input;
let output;

function named(tensors, name) {
  const names = tensors.map((tensor) => tensor.name);
  if (!names.includes(name)) {
    throw new Error(`Expected a tensor named ${name}. Received: ${names.join(", ")}`);
  }
  const { dtype, shape } = tensors[names.indexOf(name)];
  return { name, dtype, shape: Array.from(shape) };
}

/** Load .tflite files that run in sequence, and return name, type and shape of the input. */
export async function load(files, inputName, outputName) {
  model = await loadModel(files);
  input = named(model.inputs, inputName);
  output = named(model.outputs, outputName);
  return input;
}

/** Run the model on one input, whose bytes are given in base64. */
export async function run(content) {
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const { outputs } = await model.run({ [input.name]: new ARRAYS[input.dtype](bytes.buffer) });
  return { ...output, values: Array.from(outputs[output.name]) };
}
