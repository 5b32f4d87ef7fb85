/**
 * Values of a song from the predictions of its fragments, as returned by the API.
 *
 * The rules are those of tumbao/serving: calibration.py, model_info.py, song.py and predict.py.
 */

const SMALLEST = 1 / 512;
const CHANGE_PENALTY = Math.log(1 / SMALLEST);

/**
 * Compute the values of a song.
 *
 * @param {{index: number, padded: boolean, probabilities: Float32Array, distance?: number}[]} fragments, without silent ones
 * @param {{seconds: number, silent: number}} sound length and number of silent fragments
 * @param {object} card the model's model.json
 * @returns {object} as the API's `ClassifiedFile`, without the values of the file
 */
export function songValues(fragments, { seconds, silent }, card) {
  const { genres, mel, calibration, out_of_distribution: rule } = card;
  const padded = fragments[0].padded;
  const rows = fragments.map(({ probabilities }) => Array.from(probabilities));
  const inside = fragments.map(({ distance }) => !rule || distance <= rule.threshold);
  const familiar = !rule || mean(fragments.map(({ distance }) => distance)) <= rule.threshold;
  const sums = genres.map((_, genre) => total(rows.map((row) => row[genre])));
  const means = sums.map((sum) => sum / total(sums));
  const nearest = largest(means);
  const votes = genres.map((_, genre) => rows.filter((row) => largest(row) === genre).length);
  const majority = largest(votes.map((count, genre) => (count === Math.max(...votes) ? sums[genre] : -1)));
  const confident = means[nearest] >= (calibration?.threshold ?? 0) && familiar;
  const starts = fragments.map(({ index }) => index * mel.fragment_seconds);
  const end = padded ? seconds : starts.at(-1) + mel.fragment_seconds;
  return {
    genre: confident ? genres[nearest] : null,
    nearest: genres[nearest],
    probability: means[nearest],
    majority: genres[majority],
    duration_seconds: seconds,
    declared_seconds: null, // a browser does not tell it, nor which tracks there are
    audio_track: null,
    audio_tracks: null,
    truncated: false,
    padded,
    silent_fragments: silent,
    ...mainGenre(means, genres),
    probabilities: named(genres, means),
    votes: named(genres, votes),
    sections: sections(starts, end, rows).map((section) => ({ ...section, genre: genres[section.genre] })),
    fragments: rows.map((row, at) => ({
      start_seconds: starts[at],
      end_seconds: padded ? seconds : starts[at] + mel.fragment_seconds,
      genre: genres[largest(row)],
      familiar: inside[at],
      probabilities: named(genres, row),
    })),
  };
}

/** Divide a song where its genre changes: the path with the most log-probability, less a penalty for each change. */
function sections(starts, end, rows) {
  const path = bestPath(rows.map((row) => row.map((one) => Math.log(Math.max(one, SMALLEST)))));
  const firsts = path.flatMap((genre, at) => (at && genre === path[at - 1] ? [] : [at]));
  return firsts.map((first, at) => {
    const last = firsts[at + 1] ?? path.length;
    return {
      start_seconds: starts[first],
      end_seconds: last < path.length ? starts[last] : end,
      genre: path[first],
      probability: mean(rows.slice(first, last).map((row) => row[path[first]])),
      fragments: last - first,
    };
  });
}

function bestPath(gains) {
  let score = gains[0];
  const before = [];
  for (const gain of gains.slice(1)) {
    const best = largest(score);
    const changed = score[best] - CHANGE_PENALTY;
    const changes = score.map((one) => one < changed - 1e-9); // rounding must not make a change
    before.push(changes.map((change, genre) => (change ? best : genre)));
    score = gain.map((one, genre) => (changes[genre] ? changed : score[genre]) + one);
  }
  const path = [largest(score)];
  for (const origin of before.reverse()) path.unshift(origin[path[0]]);
  return path;
}

/** Sum leaves such as `salsa/dura` to genres, where some genre has several. */
function mainGenre(means, leaves) {
  const genres = leaves.map((leaf) => leaf.split("/")[0]);
  if (new Set(genres).size === leaves.length) return {};
  const sums = {};
  genres.forEach((genre, leaf) => (sums[genre] = (sums[genre] ?? 0) + means[leaf]));
  const main = Object.keys(sums)[largest(Object.values(sums))];
  return { main_genre: main, main_probability: sums[main], main_probabilities: sums };
}

const total = (values) => values.reduce((sum, value) => sum + value, 0);
const mean = (values) => total(values) / values.length;
const largest = (values) => values.indexOf(Math.max(...values));
const named = (names, values) => Object.fromEntries(names.map((name, at) => [name, values[at]]));
