/** Lets one fragment be heard at a time. */

/** @type {AudioContext | undefined} */
let context;
/** @type {(() => void) | undefined} */
let end;

/**
 * Play samples, and nothing before or after them.
 *
 * @param {Float32Array} samples mono
 * @param {number} rate theirs, in Hz
 * @param {() => void} onEnd called once, when it ends or is stopped
 * @returns {() => number} how many seconds were heard so far
 */
export function play(samples, rate, onEnd) {
  stop();
  context ??= new AudioContext();
  context.resume();
  const sound = context.createBuffer(1, samples.length, rate);
  sound.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, { buffer: sound });
  source.connect(context.destination);
  const began = context.currentTime;
  end = () => {
    end = undefined;
    source.onended = null;
    source.stop();
    onEnd();
  };
  source.onended = () => end?.();
  source.start();
  return () => context.currentTime - began;
}

/** Be silent. */
export function stop() {
  end?.();
}
