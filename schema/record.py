"""Names and meaning of the features of one record (a tf.Example): one fragment of one song."""

IMAGE = "image"
"""bytes: the mel image as a palette PNG, 300×300; `tf.io.decode_png(channels=3)` gives the model's uint8 RGB input."""

LABEL = "label"
"""int64: index into the run's list of genres."""

GENRE = "genre"
"""bytes: the genre's name in UTF-8, for slices."""

SONG = "song"
"""bytes: the song's identifier in UTF-8, the unit of split and of song-level figures."""

FRAGMENT = "fragment"
"""int64: index of the fragment in its song, from 0."""

START_SECONDS = "start_seconds"
"""float32: where the fragment begins in the song, in seconds."""

PADDED = "padded"
"""int64: 1 where the song was shorter than a fragment and silence was added, else 0."""

BACKBONE = "backbone"
"""bytes: the frozen backbone's output, float16 little-endian, row-major; only in the records of features."""

SPLITS: tuple[str, ...] = ("train", "val", "test")
"""Names of the splits, in this order."""
