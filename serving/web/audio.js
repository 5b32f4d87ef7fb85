/** Audio preprocessing: channels → mono → the model's rate → fragments, as in edge/reference.py. */

const SILENCE = 1e-4; // a fragment is silent if no sample exceeds this magnitude
const LEAST_SECONDS = 3;
const MIN_POWER = 0.5; // of the mix, as a share of that of uncorrelated channels
const MAX_OFFSET_POWER = 0.5; // of a constant offset, as a share of the mix's power
const FADES_A_SECOND = 20;
const WEIGHTS = {
  // by number of channels, in Web Audio's order; low-frequency channels are ignored
  3: [1, 1, Math.SQRT2],
  4: [1, 1, Math.SQRT1_2, Math.SQRT1_2],
  5: [1, 1, Math.SQRT2, Math.SQRT1_2, Math.SQRT1_2],
  6: [1, 1, Math.SQRT2, 0, Math.SQRT1_2, Math.SQRT1_2],
  7: [1, 1, Math.SQRT2, 0, 1, Math.SQRT1_2, Math.SQRT1_2],
  8: [1, 1, Math.SQRT2, 0, Math.SQRT1_2, Math.SQRT1_2, Math.SQRT1_2, Math.SQRT1_2],
};
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
 * Mix the channels, with gains for each second; see `mix` in edge/reference.py.
 *
 * @param {Float32Array[]} channels of equal length
 * @param {number} rate sampling rate, in Hz, an integer
 * @returns {Float32Array} mono
 */
export function mix(channels, rate) {
  const length = channels[0].length;
  const weights = channelWeights(channels.length);
  const mono = new Float32Array(length);
  const fade = Math.floor(rate / FADES_A_SECOND);
  let former = null;
  for (let second = 0; second < Math.max(1, Math.floor(length / rate)); second++) {
    const start = second * rate;
    const end = start + 2 * rate > length ? length : start + rate; // the remainder belongs to the last second
    const how = gainsOf(channels, start, Math.min(start + rate, length), weights);
    mono.set(mixed(channels, how, start, end), start);
    if (former && (former.offset !== how.offset || former.gains.some((gain, of) => gain !== how.gains[of]))) {
      const before = mixed(channels, former, start, start + fade);
      for (let index = 0; index < fade; index++) {
        mono[start + index] = before[index] + ((index + 1) / fade) * (mono[start + index] - before[index]);
      }
    }
    former = how;
  }
  return mono;
}

function mixed(channels, { gains, offset }, start, end) {
  const mono = new Float32Array(end - start).fill(-offset);
  for (let of = 0; of < gains.length; of++) {
    const [gain, channel] = [gains[of], channels[of].subarray(start, end)];
    for (let index = 0; index < mono.length; index++) mono[index] += gain * channel[index];
  }
  return mono;
}

function channelWeights(count) {
  const weights = WEIGHTS[count] ?? new Array(count).fill(1);
  const sum = weights.reduce((all, weight) => all + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Gains of a second's channels, negative where they would cancel; and the constant offset that is subtracted. */
function gainsOf(channels, start, end, weights) {
  const means = channels.map((channel) => mean(start, end, (index) => channel[index]));
  const covariance = channels.map(() => []);
  for (let one = 0; one < channels.length; one++) {
    for (let two = 0; two <= one; two++) {
      const product = (index) => (channels[one][index] - means[one]) * (channels[two][index] - means[two]);
      covariance[one][two] = covariance[two][one] = mean(start, end, product);
    }
  }
  const dot = (gains, values) => gains.reduce((sum, gain, of) => sum + gain * values[of], 0);
  const power = (gains) => dot(gains, covariance.map((row) => dot(gains, row)));
  const uncorrelated = weights.reduce((sum, weight, of) => sum + weight ** 2 * covariance[of][of], 0);
  const gains = [...weights];
  if (power(weights) < MIN_POWER * uncorrelated) {
    for (let channel = 1; channel < gains.length; channel++) {
      if (dot(gains.slice(0, channel), covariance[channel]) < 0) gains[channel] *= -1;
    }
  }
  const offset = dot(gains, means);
  return { gains, offset: offset ** 2 > MAX_OFFSET_POWER * power(gains) ? offset : 0 };
}

function mean(start, end, value) {
  let sum = 0;
  for (let index = start; index < end; index++) sum += value(index);
  return sum / (end - start);
}

/**
 * Resample with a Kaiser-windowed sinc.
 *
 * @param {Float32Array} samples mono
 * @param {number} rateIn sampling rate, in Hz, an integer
 * @param {number} rateOut target rate, in Hz, an integer
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
 * Cut into consecutive fragments; the remainder is not used, a short song is repeated until the fragment is full.
 *
 * @param {Float32Array} samples mono, at the model's rate
 * @param {number} rate sampling rate, in Hz
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
    if (padded) piece = repeated(piece, size);
    fragments.push({ index, samples: piece, padded, silent: peak < SILENCE });
  }
  if (fragments.every(({ silent }) => silent)) throw new SongError("silent");
  return fragments;
}

function repeated(piece, size) {
  return Float32Array.from({ length: size }, (_, index) => piece[index % piece.length]);
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
