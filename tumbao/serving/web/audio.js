/** Sound as the model wants it: channels → mono → the model's rate → fragments, as edge/reference.py has it. */

const SILENCE = 1e-4; // a fragment that is nowhere louder is silent
const LEAST_SECONDS = 3;
const CUTOFF = 0.956872;
const REACH = 97.25; // samples of the lower rate, on either side
const BETA = 13.04;

/** A song that cannot be used; `reason` is one of the API's. */
export class SongError extends Error {
  constructor(reason) {
    super();
    this.reason = reason;
  }
}

/**
 * Average all channels.
 *
 * @param {Float32Array[]} channels of equal length
 * @returns {Float32Array} mono
 */
export function mix(channels) {
  const mono = channels[0].slice();
  for (const channel of channels.slice(1)) {
    for (let index = 0; index < mono.length; index++) mono[index] += channel[index];
  }
  for (let index = 0; index < mono.length; index++) mono[index] /= channels.length;
  return mono;
}

/**
 * Resample with a sinc under a Kaiser window.
 *
 * @param {Float32Array} samples mono
 * @param {number} rateIn theirs, in Hz, whole
 * @param {number} rateOut the one wanted, in Hz, whole
 * @returns {Float32Array} round(n · rateOut / rateIn) samples
 */
export function resample(samples, rateIn, rateOut) {
  if (rateIn === rateOut) return samples;
  const divisor = greatestCommonDivisor(rateIn, rateOut);
  const [up, down] = [rateOut / divisor, rateIn / divisor];
  const scale = Math.min(1, rateOut / rateIn);
  const reach = Math.ceil(REACH / scale);
  const width = 2 * reach + 1;
  const padded = new Float32Array(samples.length + 2 * reach + down);
  padded.set(samples, reach);
  const resampled = new Float32Array(Math.floor((2 * samples.length * up + down) / (2 * down)));
  const taps = new Float64Array(width);
  for (let phase = 0; phase < Math.min(up, resampled.length); phase++) {
    // every up-th sample of the result lies equally between its neighbours
    const first = Math.floor((phase * down) / up);
    const between = (phase * down - first * up) / up;
    for (let tap = 0; tap < width; tap++) taps[tap] = filter(scale * (between + reach - tap), scale);
    for (let index = phase, start = first; index < resampled.length; index += up, start += down) {
      let sum = 0;
      for (let tap = 0; tap < width; tap++) sum += padded[start + tap] * taps[tap];
      resampled[index] = sum;
    }
  }
  return resampled;
}

/**
 * Cut into consecutive fragments; what is left over is not used, a short song is filled up with zeros.
 *
 * @param {Float32Array} samples mono, at the model's rate
 * @param {number} rate that rate, in Hz
 * @param {number} size samples of a fragment
 * @returns {{index: number, samples: Float32Array, padded: boolean, silent: boolean}[]} at least one that is not silent
 * @throws {SongError} if the song is silent or too short
 */
export function cut(samples, rate, size) {
  if (!samples.length) throw new SongError("no audio");
  if (samples.length < Math.min(size, LEAST_SECONDS * rate)) throw new SongError("too short");
  const padded = samples.length < size;
  const fragments = [];
  for (let index = 0; index < Math.max(1, Math.floor(samples.length / size)); index++) {
    let piece = samples.subarray(index * size, (index + 1) * size);
    const peak = piece.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    if (!Number.isFinite(peak)) throw new SongError("not finite");
    if (peak > 1) piece = piece.map((sample) => sample / peak);
    if (padded) piece = filled(piece, size);
    fragments.push({ index, samples: piece, padded, silent: peak < SILENCE });
  }
  if (fragments.every(({ silent }) => silent)) throw new SongError("silent");
  return fragments;
}

function filled(piece, size) {
  const whole = new Float32Array(size);
  whole.set(piece);
  return whole;
}

function filter(time, scale) {
  if (Math.abs(time) >= REACH) return 0;
  const angle = Math.PI * CUTOFF * time;
  const sinc = angle ? Math.sin(angle) / angle : 1;
  return (scale * CUTOFF * sinc * bessel(BETA * Math.sqrt(1 - (time / REACH) ** 2))) / bessel(BETA);
}

function bessel(x) {
  let [term, sum] = [1, 1];
  for (let k = 1; term > sum * 1e-17; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b ? greatestCommonDivisor(b, a % b) : a;
}
