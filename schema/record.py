"""Names and meaning of the features of one record (a tf.Example), which holds one fragment of a song."""

IMAGE = "image"
"""bytes: the mel image as a palette PNG, 300×300; `tf.io.decode_png(channels=3)` gives the model's uint8 RGB input."""

LABEL = "label"
"""int64: index into the run's list of genres."""

GENRE = "genre"
"""bytes: the genre's name in UTF-8, for slices of the evaluation."""

SONG = "song"
"""bytes: the song's identifier in UTF-8, the unit of split and of song-level metrics."""

FRAGMENT = "fragment"
"""int64: index of the fragment in its song, from 0."""

START_SECONDS = "start_seconds"
"""float32: start of the fragment in its file, in seconds."""

PADDED = "padded"
"""int64: 1 if the song is shorter than a fragment and is repeated, else 0."""

BACKBONE = "backbone"
"""bytes: the frozen backbone's output, float16 little-endian, row-major; only in feature records."""

SPLITS: tuple[str, ...] = ("train", "val", "test")
"""Names of the splits, in this order."""
