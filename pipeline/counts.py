"""Counts of classified and rejected songs."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.serving.classify.batch import Answer
from tumbao.serving.classify.formats import Brief
from tumbao.serving.classify.tags import Outcome

_UNDONE = (Outcome.FAILED, Outcome.IMPOSSIBLE)


class Tally:
    """Counts results. `briefs` has the result of each song so far; `genres` are in the order of the model's outputs."""

    def __init__(self, genres: Sequence[str]) -> None:
        self.briefs: dict[AudioSegment, Brief] = {}
        self._genres = genres
        self._fresh_seconds = 0.0

    def add(self, answer: Answer) -> None:
        """Add the result of a song that was classified in this run."""
        said, tag = answer.result, answer.tagging.outcome.value if answer.tagging else ""
        if isinstance(said, AudioError):
            self.briefs[answer.part] = Brief("", 0.0, said.reason.value, tag)
            return
        genre = self._genres[said.answer.genre] if said.answer.confident else ""
        self.briefs[answer.part] = Brief(genre, said.duration_seconds, "", tag)
        self._fresh_seconds += said.duration_seconds

    @property
    def rejected(self) -> int:
        """Number of rejected songs."""
        return sum(bool(brief.reason) for brief in self.briefs.values())

    @property
    def untagged(self) -> int:
        """Number of songs whose tag should have been written but was not."""
        return sum(brief.tag in _UNDONE for brief in self.briefs.values())

    def lines(self, notes: Sequence[str], seconds: float) -> Iterator[str]:
        """Format the counts; the first line shows that classified and rejected songs add up to those found.

        `notes` are those of `inputs.AudioFiles`, `seconds` is the time that classification took.
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
