/** The card of one song. */

import { element } from "./element.js";
import { play, stop } from "./player.js";
import { timeline } from "./timeline.js";

/**
 * Render a song in its current state.
 *
 * @param {object} song `name`, `state` ("decoding", "asking", "answered" or "refused"), and, if known, `share`,
 *     `answer`, `error`, `sound`, `model`, `images`, `local`, `drawable`
 * @param {object} words of strings.js
 * @param {() => void} remove removes the song
 * @returns {HTMLElement}
 */
export function card(song, words, remove) {
  const heading = element("h3", { tabindex: "-1" }, song.name);
  const cross = element("button", { type: "button", class: "remove", "aria-label": words.remove(song.name), click: remove }, "×");
  const parts = { decoding: wait, asking: wait, refused, answered }[song.state](song, words);
  return element("article", { class: `song ${song.state}` }, element("header", {}, heading, cross), ...parts);
}

/** Describe the result of a song in one sentence, also for screen readers. */
export function sentence({ name, state, answer, error }, words) {
  if (state === "refused") {
    const known = words.says[error.reason] ?? words.says.other;
    const specific = words.code === "en" && /^[a-z]+ /.test(error.message); // a message of the server about this file
    return words.failed(name, specific ? `${error.message}.` : known);
  }
  const [genre, share] = [words.genre(answer.nearest), words.share(answer.probability)];
  return `${name}: ${answer.genre === null ? `${words.none}. ${words.nearest(genre, share)}` : `${genre}, ${words.sure(share)}`}`;
}

function wait({ state, share }, words) {
  const text = state === "decoding" ? words.decoding : share ? words.done(words.share(share)) : words.asking;
  const progress = share ? { max: "1", value: share } : {};
  return [element("p", { class: "meta" }, text), element("progress", { ...progress, "aria-label": text })];
}

function refused(song, words) {
  return [element("p", { class: "refusal" }, sentence(song, words))];
}

function answered(song, words) {
  const { answer, local, sound } = song;
  const [genre, share] = [words.genre(answer.nearest), words.share(answer.probability)];
  const index = Object.keys(answer.probabilities).indexOf(answer.nearest);
  const verdict =
    answer.genre === null
      ? [element("strong", {}, words.none), element("span", {}, words.nearest(genre, share))]
      : [element("strong", {}, genre), element("span", {}, words.sure(share))];
  const notes = [
    words.where[local ? "local" : "server"],
    answer.main_genre && words.main(words.genre(answer.main_genre), words.share(answer.main_probability)),
    answer.padded && words.padded,
    answer.truncated && words.truncated,
    answer.silent_fragments && words.silent(answer.silent_fragments),
    !sound && words.noSound,
  ];
  const detail = element("div", { class: "detail" });
  const changes = answer.sections.length > 1 ? answer.sections : [];
  const view = timeline(answer, sound?.samples, words, { shown: show, chosen: (at) => (show(at), listen()) });
  let shown = 0;
  let playing;
  show(0);
  return [
    element("p", { class: `verdict ${answer.genre === null ? "unsure" : `edge-${index % 8}`}` }, ...verdict),
    bars(answer.probabilities, words, words.probabilities),
    view,
    element("p", { class: "meta" }, words.timelineHelp),
    ...(changes.length
      ? [element("ol", { class: "sections" }, ...changes.map((one) =>
          element("li", {}, words.changes(words.time(one.start_seconds), words.genre(one.genre)))))]
      : []),
    detail,
    ...notes.filter(Boolean).map((note) => element("p", { class: "meta" }, note)),
  ];

  function show(at) {
    if (playing !== undefined && at !== playing) return; // the playing fragment stays visible
    shown = at;
    view.querySelectorAll(".track button").forEach((one, place) => one.setAttribute("aria-pressed", String(place === at)));
    const fragment = answer.fragments[at];
    const [from, to] = [words.time(fragment.start_seconds), words.time(fragment.end_seconds)];
    const figure = sound && song.drawable ? picture(song, at, words.image(from, to)) : undefined;
    detail.replaceChildren(
      ...(figure ? [element("figure", {}, figure, element("figcaption", {}, words.imageCaption))] : []),
      element(
        "div",
        {},
        element("h4", {}, words.fragment(from, to)),
        ...(fragment.familiar ? [] : [element("p", { class: "meta" }, words.unfamiliar)]),
        bars(fragment.probabilities, words, words.fragment(from, to)),
        ...(sound ? [element("button", { type: "button", class: "listen", click: listen }, playing === at ? words.stop : words.listen)] : []),
        ...(sound && !song.drawable ? [element("p", { class: "meta" }, words.noImage)] : []),
      ),
    );
  }

  function listen() {
    const again = playing === shown;
    stop();
    if (again || !sound) return;
    playing = shown;
    const label = (text) => (detail.querySelector(".listen").textContent = text);
    label(words.stop);
    const fragment = answer.fragments[playing];
    const [from, to] = [fragment.start_seconds, fragment.end_seconds].map((one) => Math.round(one * song.model.rate));
    const head = view.querySelector(".playhead");
    const seconds = play(sound.samples.slice(from, to), song.model.rate, () => {
      playing = undefined;
      head.hidden = true;
      label(words.listen);
    });
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) requestAnimationFrame(follow);
    function follow() {
      if (playing === undefined) return;
      head.hidden = false;
      head.style.left = `${(100 * (fragment.start_seconds + seconds())) / answer.duration_seconds}%`;
      requestAnimationFrame(follow);
    }
  }
}

function bars(probabilities, words, label) {
  const rows = Object.entries(probabilities).map(([genre, probability], index) =>
    element(
      "li",
      {},
      element("span", { class: "name" }, words.genre(genre)),
      element("span", { class: "bar" }, element("span", { class: `fill-${index % 8}`, style: `width: ${100 * probability}%` })),
      element("span", { class: "value" }, words.share(probability)),
    ),
  );
  return element("ul", { class: "bars", "aria-label": label }, ...rows);
}

/** Show a fragment's mel image when it is available. */
function picture(song, at, label) {
  const { image_width: width, image_height: height } = song.model.card.mel;
  const canvas = element("canvas", { width, height, role: "img", "aria-label": label });
  const number = Math.round(song.answer.fragments[at].start_seconds / song.model.card.mel.fragment_seconds);
  song.images[at] ??= song.model.image(song.sound.fragments[number].samples);
  song.images[at].then(
    (rgb) => {
      const pixels = new ImageData(width, height);
      for (let from = 0, to = 0; from < rgb.length; to += 4) {
        pixels.data.set([rgb[from++], rgb[from++], rgb[from++], 255], to);
      }
      canvas.getContext("2d").putImageData(pixels, 0, 0);
      canvas.dataset.rendered = "";
    },
    () => canvas.parentElement?.remove(),
  );
  return canvas;
}
