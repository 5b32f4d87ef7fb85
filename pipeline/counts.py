"""What became of the songs, in numbers."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.serving.classify.answers import Answer
from tumbao.serving.classify.results_file import Brief
from tumbao.serving.classify.tags import Outcome

_UNDONE = (Outcome.FAILED, Outcome.IMPOSSIBLE)


class Tally:
    """Counts answers.

    Parameters
    ----------
    genres : sequence of str
        Those of the model, in the order of its outputs.

    Attributes
    ----------
    briefs : dict of AudioSegment to Brief
        What is known of each song so far.
    """

    def __init__(self, genres: Sequence[str]) -> None:
        self.briefs: dict[AudioSegment, Brief] = {}
        self._genres = genres
        self._fresh_seconds = 0.0

    def add(self, answer: Answer) -> None:
        """Count an answer.

        Parameters
        ----------
        answer : Answer
            Of a song that was classified just now.
        """
        said, tag = answer.said, answer.tagging.outcome.value if answer.tagging else ""
        if isinstance(said, AudioError):
            self.briefs[answer.part] = Brief("", 0.0, said.reason.value, tag)
            return
        genre = self._genres[said.answer.genre] if said.answer.confident else ""
        self.briefs[answer.part] = Brief(genre, said.duration_seconds, "", tag)
        self._fresh_seconds += said.duration_seconds

    @property
    def rejected(self) -> int:
        """How many songs were rejected."""
        return sum(bool(brief.reason) for brief in self.briefs.values())

    @property
    def untagged(self) -> int:
        """How many songs should have got a tag and have not."""
        return sum(brief.tag in _UNDONE for brief in self.briefs.values())

    def lines(self, notes: Sequence[str], seconds: float) -> Iterator[str]:
        """Say it in words.

        Parameters
        ----------
        notes : sequence of str
            See `audio_files.AudioFiles`.
        seconds : float
            How long the model took, in seconds.

        Yields
        ------
        line : str
            First the sum that has to come out even.
        """
        found = len(self.briefs)
        yield f"found {found} = classified {found - self.rejected} + rejected {self.rejected}"
        yield from notes
        if found > 1:
            briefs = self.briefs.values()
            genres = collections.Counter(brief.genre for brief in briefs if not brief.reason)
            counts = [f"{genre} {genres[genre]}" for genre in self._genres]
            yield f"genres: {', '.join(counts)}, none of these with confidence {genres['']}"
            for what, counter in (
                ("rejected", collections.Counter(brief.reason for brief in briefs if brief.reason)),
                ("tags", collections.Counter(brief.tag for brief in briefs if brief.tag)),
            ):
                if counter:
                    yield f"{what}: {', '.join(f'{name} {count}' for name, count in counter.most_common())}"
            if self._fresh_seconds:
                ratio = self._fresh_seconds / seconds
                yield f"{self._fresh_seconds / 3600:.1f} h of sound in {seconds / 60:.1f} min: {ratio:.0f} × real time"
