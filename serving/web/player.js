/** Playback of one fragment at a time. */

/** @type {AudioContext | undefined} */
let context;
/** @type {(() => void) | undefined} */
let end;

/**
 * Play samples; a fragment that is playing is stopped.
 *
 * @param {Float32Array} samples mono
 * @param {number} rate sampling rate, in Hz
 * @param {() => void} onEnd called once, when it ends or is stopped
 * @returns {() => number} seconds played so far
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

/** Stop playback. */
export function stop() {
  end?.();
}
