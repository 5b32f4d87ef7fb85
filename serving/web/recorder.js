/** Recording from the microphone, with a level meter. */

const LOOK_MS = 100;

/**
 * Start recording.
 *
 * @param {(level: number, seconds: number) => void} onLevel called ten times a second with the peak, 0 to 1, and the length
 * @returns {Promise<() => Promise<File>>} stops the recording
 */
export async function record(onLevel) {
  const asIs = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: asIs });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, { fftSize: 8192 }); // longer than it takes to look again
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const began = performance.now();
  const looking = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    onLevel(Math.min(1, peak), (performance.now() - began) / 1000);
  }, LOOK_MS);
  recorder.start();
  return () =>
    new Promise((resolve) => {
      recorder.addEventListener("stop", () => {
        clearInterval(looking);
        stream.getTracks().forEach((track) => track.stop());
        context.close();
        const [type] = recorder.mimeType.split(";");
        const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
        resolve(new File(parts, `${time}.${type.split("/")[1]}`, { type }));
      });
      recorder.stop();
    });
}
