/**
 * Values of a song from the predictions of its fragments, as returned by the API.
 *
 * The rules are those of tumbao/serving: calibration.py, out_of_distribution.py, song.py, timeline.py and predict.py.
 */

const SMALLEST = 1 / 512;
const CHANGE_PENALTY = Math.log(1 / SMALLEST);

/**
 * Compute the values of a song.
 *
 * @param {{index: number, padded: boolean, probabilities: Float32Array, image: Uint8Array, distance?: number}[]} fragments, without silent ones
 * @param {{seconds: number, silent: number}} sound length and number of silent fragments
 * @param {object} card the model's model.json
 * @returns {object} as the API's `ClassifiedFile`, without the values of the file
 */
export function songValues(fragments, { seconds, silent }, card) {
  const { genres, mel, calibration, familiarity, out_of_distribution: rule } = card;
  const uncalibrated = calibration && card.format_version === 1; // later versions have the temperature in their graph
  const padded = fragments[0].padded;
  const rows = fragments.map(({ probabilities }) =>
    uncalibrated ? temper(probabilities, calibration.temperature) : Array.from(probabilities),
  );
  const inside = fragments.map(({ image, distance }) =>
    rule ? distance <= rule.threshold : !familiarity || inDistribution(image, mel, familiarity),
  );
  const familiar = rule
    ? mean(fragments.map(({ distance }) => distance)) <= rule.threshold
    : 2 * total(inside.map(Number)) >= inside.length;
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

function temper(probabilities, temperature) {
  const powers = Array.from(probabilities, (one) => Math.max(one, SMALLEST) ** (1 / temperature));
  return powers.map((power) => power / total(powers));
}

/** Check whether a mel image is like those of the training songs, as resample_reference.py does. */
function inDistribution(image, { image_height: height, image_width: width }, ranges) {
  const bright = (row, column) => {
    const at = 3 * (row * width + column);
    return (image[at] + image[at + 1] + image[at + 2]) / 3;
  };
  const rows = Array.from({ length: height }, (_, row) => Array.from({ length: width }, (_, column) => bright(row, column)));
  const columns = soundedColumns(rows, ranges.sounded_brightness);
  const count = total(columns.map(Number));
  const ends = ranges.by_length.filter((one) => one.columns <= count).at(-1) ?? ranges.by_length[0];
  return within(ends, imageStatistics(rows, columns.includes(true) ? columns : columns.map(() => true)));
}

/** Find the columns with sound, without those beside silence. */
function soundedColumns(rows, least) {
  const loud = rows[0].map((_, column) => rows.some((row) => row[column] > least));
  const inner = loud.map((one, at) => one && (loud[at - 1] ?? true) && (loud[at + 1] ?? true));
  return inner.includes(true) ? inner : loud;
}

/** Measure a mel image: the five statistics of its brightness over some of its columns. */
function imageStatistics(rows, columns) {
  const parts = rows.map((row) => row.filter((_, column) => columns[column]));
  const inTime = rows.flatMap((row) =>
    row.slice(1).flatMap((value, at) => (columns[at] && columns[at + 1] ? [Math.abs(value - row[at])] : [])),
  );
  const inBands = parts.slice(1).flatMap((row, above) => row.map((value, at) => Math.abs(value - parts[above][at])));
  const means = parts.map(mean);
  return [mean(means), deviation(means), mean(parts.map(deviation)), inTime.length ? mean(inTime) : 0, mean(inBands)];
}

function within({ low, high }, statistics) {
  return statistics.every((value, at) => low[at] <= value && value <= high[at]);
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
const deviation = (values) => {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
};
const largest = (values) => values.indexOf(Math.max(...values));
const named = (names, values) => Object.fromEntries(names.map((name, at) => [name, values[at]]));
