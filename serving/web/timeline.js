/** The timeline of a song: genres of the fragments, waveform and changes of genre. */

import { element } from "./element.js";

const HEIGHT = 100;
const BARS = 480;

/**
 * Render a timeline.
 *
 * @param {object} answer the API's `ClassifiedFile`
 * @param {Float32Array | undefined} samples the song, if this browser could decode it
 * @param {object} words of strings.js
 * @param {{shown: (index: number) => void, chosen: (index: number) => void}} handlers called with the index of a
 *     fragment that is pointed at, or clicked
 * @returns {HTMLElement}
 */
export function timeline(answer, samples, words, handlers) {
  const { fragments, sections, duration_seconds: duration } = answer;
  const at = (seconds) => `${(100 * seconds) / duration}%`;
  const drawing = element(
    "svg:svg",
    { viewBox: `0 0 ${BARS} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...fragments.flatMap((fragment) => stack(fragment, duration, Object.keys(answer.probabilities))),
    ...(samples ? [element("svg:path", { class: "wave", d: waveform(samples) })] : []),
  );
  const buttons = fragments.map((fragment, index) => button(fragment, index));
  const changes = sections.slice(1).map(({ start_seconds: start }) =>
    element("span", { class: "change", style: `left: ${at(start)}`, "aria-hidden": "true" }),
  );
  const playhead = element("span", { class: "playhead", hidden: true });
  const ticks = [0, ...sections.slice(1).map((section) => section.start_seconds)].filter((start) => start < 0.9 * duration);
  return element(
    "div",
    { class: "timeline" },
    element("div", { class: "track", role: "group", "aria-label": words.timeline }, drawing, ...changes, playhead, ...buttons),
    element(
      "div",
      { class: "ticks", "aria-hidden": "true" },
      ...ticks.map((start) => element("span", { style: `left: ${at(start)}` }, words.time(start))),
      element("span", { class: "end" }, words.time(duration)),
    ),
  );

  function button({ start_seconds: start, end_seconds: end, genre, probabilities }, index) {
    const label = words.fragmentLabel(
      words.time(start), words.time(end), words.genre(genre), words.share(probabilities[genre]),
    );
    return element("button", {
      type: "button",
      style: `left: ${at(start)}; width: ${at(end - start)}`,
      tabindex: index ? "-1" : "0",
      "aria-label": label,
      title: label,
      "aria-pressed": "false",
      pointerenter: () => handlers.shown(index),
      focus: ({ target }) => {
        buttons.forEach((one) => (one.tabIndex = one === target ? 0 : -1));
        handlers.shown(index);
      },
      click: () => handlers.chosen(index),
      keydown: (event) => move(event, index),
    });
  }

  function move(event, index) {
    const last = buttons.length - 1;
    const target = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: last }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(last, target))].focus();
  }
}

function stack({ start_seconds: start, end_seconds: end, probabilities }, duration, genres) {
  let top = HEIGHT;
  return genres.map((genre, index) => {
    const height = probabilities[genre] * HEIGHT;
    top -= height;
    return element("svg:rect", {
      x: (BARS * start) / duration,
      width: (BARS * (end - start)) / duration,
      y: top,
      height,
      class: `genre-${index % 8}`,
    });
  });
}

function waveform(samples) {
  const step = samples.length / BARS;
  const peaks = Array.from({ length: BARS }, (_, bar) =>
    samples.subarray(Math.floor(bar * step), Math.floor((bar + 1) * step)).reduce((most, one) => Math.max(most, Math.abs(one)), 0),
  );
  const scale = (0.42 * HEIGHT) / Math.max(...peaks, 1e-4);
  return peaks.map((peak, bar) => {
    const reach = Math.max(0.6, peak * scale);
    return `M${bar + 0.2} ${HEIGHT / 2 - reach}h.6v${2 * reach}h-.6z`;
  }).join("");
}
