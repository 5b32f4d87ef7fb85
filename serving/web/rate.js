/** The sampling rate in a file's header: browsers resample while decoding and do not report the original rate. */

const OPUS = 48_000; // always decoded at this rate
const MP3 = [
  [11_025, 12_000, 8_000], // by version: 2.5, reserved, 2, 1
  [],
  [22_050, 24_000, 16_000],
  [44_100, 48_000, 32_000],
];

/**
 * Read the sampling rate.
 *
 * @param {ArrayBuffer} content a file
 * @returns {number} in Hz; 48,000 if the format is unknown
 */
export function rateOf(content) {
  const view = new DataView(content);
  const found = [wav, flac, ogg, mp4, webm, mp3].reduce((rate, look) => rate || look(view), 0);
  return found >= 3_000 && found <= 192_000 ? Math.round(found) : OPUS;
}

function text(view, at, length) {
  if (at + length > view.byteLength) return "";
  return String.fromCharCode(...new Uint8Array(view.buffer, at, length));
}

function find(view, name, from = 0, until = Math.min(view.byteLength, 65_536)) {
  for (let at = from; at < until; at++) if (text(view, at, name.length) === name) return at;
  return -1;
}

function wav(view) {
  if (text(view, 0, 4) !== "RIFF" || text(view, 8, 4) !== "WAVE") return 0;
  for (let at = 12; at + 16 <= view.byteLength; at += 8 + view.getUint32(at + 4, true)) {
    if (text(view, at, 4) === "fmt ") return view.getUint32(at + 12, true);
  }
  return 0;
}

function flac(view) {
  return text(view, 0, 4) === "fLaC" && view.byteLength > 22 ? view.getUint32(18) >>> 12 : 0;
}

function ogg(view) {
  if (text(view, 0, 4) !== "OggS") return 0;
  if (find(view, "OpusHead", 0, 512) >= 0) return OPUS;
  const at = find(view, "\x01vorbis", 0, 512);
  return at >= 0 && at + 16 <= view.byteLength ? view.getUint32(at + 12, true) : 0;
}

function mp4(view) {
  if (text(view, 4, 4) !== "ftyp") return 0;
  for (let at = 0; at + 16 <= view.byteLength; ) {
    const size = view.getUint32(at);
    if (text(view, at + 4, 4) === "moov") {
      const entry = find(view, "mp4a", at, Math.min(at + size, view.byteLength));
      return entry >= 0 && entry + 32 <= view.byteLength ? view.getUint16(entry + 28) : 0;
    }
    if (size < 8) return 0;
    at += size;
  }
  return 0;
}

function webm(view) {
  if (view.byteLength < 4 || view.getUint32(0) !== 0x1a45dfa3) return 0;
  if (find(view, "A_OPUS") >= 0) return OPUS;
  const at = find(view, "\xb5\x84") + 1 || find(view, "\xb5\x88") + 1; // SamplingFrequency, a float of 4 or 8 bytes
  if (!at || at + 9 > view.byteLength) return 0;
  return view.getUint8(at) === 0x84 ? view.getFloat32(at + 1) : view.getFloat64(at + 1);
}

function mp3(view) {
  let at = 0;
  if (text(view, 0, 3) === "ID3" && view.byteLength > 10) {
    at = 10 + [6, 7, 8, 9].reduce((size, place) => (size << 7) | view.getUint8(place), 0);
  }
  for (const end = Math.min(view.byteLength - 4, at + 65_536); at < end; at++) {
    const header = view.getUint32(at);
    const [version, layer, index] = [(header >>> 19) & 3, (header >>> 17) & 3, (header >>> 10) & 3];
    if (header >>> 21 === 0x7ff && version !== 1 && layer && ((header >>> 12) & 15) !== 15 && index < 3) {
      return MP3[version][index];
    }
  }
  return 0;
}
