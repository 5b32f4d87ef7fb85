"""From a file to a song's genre with the pushed TFLite files: the edge runtime, no TensorFlow."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from tumbao.components.ingest.fragments import Ending, Fragment, Fragments, read
from tumbao.components.ingest.places import Place, place
from tumbao.components.ingest.worker_pool import cpu_count
from tumbao.errors import UserError
from tumbao.serving.calibration import temper
from tumbao.serving.familiarity import mostly_familiar
from tumbao.serving.fetched_model import SAVED_MODEL_FILE, fetched
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE, ModelFile, ModelInfo, preferred
from tumbao.serving.song import SongAnswer, combine
from tumbao.serving.timeline import Section, by_second, sections

_Tensor = tuple[str, tuple[int, ...]]  # type, shape


@dataclasses.dataclass(frozen=True)
class FragmentPrediction:
    """What the model says of one fragment.

    Parameters
    ----------
    start_seconds : float
        Where the fragment begins in the song, in seconds.
    end_seconds : float
        Where it ends, in seconds; padding is not counted.
    probabilities : tuple of float
        Probability of each genre, in [0, 1], after the model's temperature.
    familiar : bool
        Whether it looks like the training songs; true where the model cannot tell.
    """

    start_seconds: float
    end_seconds: float
    probabilities: tuple[float, ...]
    familiar: bool

    @property
    def genre(self) -> int:
        """Index of the most probable genre, the first of several."""
        return self.probabilities.index(max(self.probabilities))


@dataclasses.dataclass(frozen=True)
class SongPrediction:
    """What the model says of one song.

    Parameters
    ----------
    path : Place
        The file.
    answer : SongAnswer
        The whole song's genre, and whether the model is confident of it; it is not where most fragments are unfamiliar.
    sections : tuple of Section
        The parts of the song by genre; one, unless it is a medley.
    fragments : tuple of FragmentPrediction
        The fragments in their order, without those that are silent.
    duration_seconds : float
        Length of what was decoded, in seconds; it includes the tail, which has no part in the answer.
    declared_seconds : float or None
        Length that the file declares, in seconds.
    truncated : bool
        The file breaks off; the answer rests on what could be decoded.
    padded : bool
        The song was shorter than a fragment and silence was added.
    silent : int
        How many fragments have no part in the answer since nothing is heard in them.
    audio_track : int
        Which of the file's audio tracks was decoded, from 1: the one that players play.
    audio_tracks : int
        How many audio tracks the file has.
    """

    path: Place
    answer: SongAnswer
    sections: tuple[Section, ...]
    fragments: tuple[FragmentPrediction, ...]
    duration_seconds: float
    declared_seconds: float | None
    truncated: bool
    padded: bool
    silent: int
    audio_track: int = 1
    audio_tracks: int = 1

    def by_second(self) -> np.ndarray:
        """Tell the probability of each genre in each second.

        Returns
        -------
        np.ndarray [shape=(s, g), dtype=float64]
            Row i belongs to the second from i to i + 1; NaN where no fragment has a part in the answer.
        """
        return by_second(
            [fragment.start_seconds for fragment in self.fragments],
            [fragment.end_seconds for fragment in self.fragments],
            np.array([fragment.probabilities for fragment in self.fragments]),
        )


def find_assets(model_dir: str | Place, whole: bool = False) -> Path:
    """Find the folder with the TFLite files.

    Parameters
    ----------
    model_dir : str or Place
        A push folder whose children are versions named by integers (the highest whole one is taken: TFX's Pusher
        writes `saved_model.pb` last), one version, or its `assets.extra`. A model in a bucket is fetched once.
    whole : bool
        From a bucket also fetch the SavedModel around it.

    Returns
    -------
    Path
        The folder that holds model.json.

    Raises
    ------
    ValueError
        If no model lies there.
    OSError
        If a bucket cannot be read.
    """
    folder = place(model_dir)
    for candidate in _candidates(folder):
        if (candidate / INFO_FILE).is_file():
            return candidate if isinstance(candidate, Path) else fetched(candidate, whole)
    raise UserError(
        f"No model in {folder}: expected a push folder with versions (1, 2, …), or one version with "
        f"{ASSETS_FOLDER}/{INFO_FILE}. `tumbao run` trains and pushes a model and prints where it lies."
    )


def _candidates(folder: Place) -> Iterator[Place]:
    yield folder
    yield folder / ASSETS_FOLDER
    numbered = [child for child in folder.iterdir() if child.name.isdecimal()] if folder.is_dir() else []
    for version in sorted(numbered, key=lambda child: int(child.name), reverse=True):
        if (version / SAVED_MODEL_FILE).is_file():
            yield version / ASSETS_FOLDER
            return


class Classifier:
    """A pushed model that answers for audio files.

    Parameters
    ----------
    model_dir : str or Place
        Where the model lies; see `find_assets`.
    precision : str
        Which classifier: "int8", "dynamic" or "float16"; empty for the preferred one of those that there are.
    threads : int or None
        Threads of the interpreter; None for one per CPU that this process may use.

    Attributes
    ----------
    info : ModelInfo
        What the model says about itself.

    Raises
    ------
    ValueError
        If there is no model, or its files are not what model.json says.

    Notes
    -----
    Several threads may share an instance: their fragments take turns.
    """

    def __init__(self, model_dir: str | Place, precision: str = "", threads: int | None = None) -> None:
        assets = find_assets(model_dir)
        self.info = ModelInfo.read(assets)
        precisions = sorted(self.info.files.keys() - {"frontend", "audio"})
        precision = precision or preferred(precisions)
        if precision not in precisions:
            expected = ", ".join(precisions)
            raise UserError(f"{assets}: expected one of the precisions {expected}. Received: {precision!r}")
        mel, threads = self.info.mel, threads or cpu_count()
        image: _Tensor = ("uint8", (1, *mel.image_shape))
        self._turn = threading.Lock()
        self._frontend = _load(
            assets,
            self.info.files["frontend"],
            threads,
            "waveform",
            {"waveform": ("float32", (1, mel.fragment_samples)), "image": image},
        )
        self._classifier = _load(
            assets,
            self.info.files[precision],
            threads,
            "image",
            {"image": image, "probabilities": ("float32", (1, len(self.info.genres)))},
        )

    def predict(self, fragment: np.ndarray) -> np.ndarray:
        """Predict one fragment.

        Parameters
        ----------
        fragment : np.ndarray [shape=(mel.fragment_samples,), dtype=float32]
            Mono samples in [-1, 1].

        Returns
        -------
        np.ndarray [shape=(g,), dtype=float32]
            Probability of each genre, in [0, 1], in the order of `info.genres`, before any temperature.
        """
        return self._genres(self._image(fragment))

    def classify(self, path: str | Path) -> SongPrediction:
        """Answer for one song.

        Parameters
        ----------
        path : str or Place
            The audio file.

        Returns
        -------
        SongPrediction
            The song's genre and its fragments'.

        Raises
        ------
        AudioError
            If the file gives no song.
        """
        return self.answer(path, read(path, self.info.mel))

    def answer(self, path: str | Place, items: Iterable[Fragment | Ending]) -> SongPrediction:
        """Answer for one song that is decoded elsewhere.

        Parameters
        ----------
        path : str or Place
            Where the song comes from.
        items : iterable of Fragment and Ending
            The song, as `fragments.read` gives it.

        Returns
        -------
        SongPrediction
            The song's genre and its fragments'.

        Raises
        ------
        AudioError
            If the items end with one.
        """
        mel, calibration, familiarity = self.info.mel, self.info.calibration, self.info.familiarity
        heard: list[FragmentPrediction] = []
        silent, padded = 0, False
        song = Fragments(items)
        for fragment in song:
            silent, padded = silent + fragment.silent, fragment.padded
            if not fragment.silent:
                start = fragment.index * mel.fragment_seconds
                image = self._image(fragment.samples)
                probabilities = self._genres(image)
                if calibration:
                    probabilities = temper(probabilities[np.newaxis], calibration.temperature)[0]
                familiar = familiarity is None or familiarity.covers(image[0], padded)
                end = start + mel.fragment_seconds
                heard.append(FragmentPrediction(start, end, tuple(probabilities.tolist()), familiar))
        if padded:
            heard = [dataclasses.replace(heard[0], end_seconds=song.ending.seconds)]
        probabilities = np.array([prediction.probabilities for prediction in heard])
        answer = combine(probabilities, calibration.threshold if calibration else 0.0)
        familiar = mostly_familiar([prediction.familiar for prediction in heard])
        return SongPrediction(
            path=place(path),
            answer=dataclasses.replace(answer, confident=answer.confident and familiar),
            sections=sections([one.start_seconds for one in heard], heard[-1].end_seconds, probabilities),
            fragments=tuple(heard),
            duration_seconds=song.ending.seconds,
            declared_seconds=song.ending.header.declared_seconds,
            truncated=song.ending.truncated,
            padded=padded,
            silent=silent,
            audio_track=song.ending.header.audio_track,
            audio_tracks=song.ending.header.audio_tracks,
        )

    def _image(self, fragment: np.ndarray) -> np.ndarray:
        with self._turn:
            return self._frontend(waveform=fragment[np.newaxis])["image"]

    def _genres(self, image: np.ndarray) -> np.ndarray:
        with self._turn:
            return self._classifier(image=image)["probabilities"][0]


def _load(assets: Path, file: ModelFile, threads: int, signature: str, expected: dict[str, _Tensor]) -> SignatureRunner:
    """Load one TFLite file and check the names, types and shapes of what goes in and comes out."""
    path = assets / file.name
    size = path.stat().st_size if path.is_file() else 0
    if size != file.bytes:
        raise UserError(f"{path}: expected {file.bytes} bytes, found {size}. Copy the whole version folder again.")
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    signatures = interpreter.get_signature_list()
    if signature not in signatures:
        raise UserError(f"{path}: expected a signature {signature!r}. Received: {signatures}")
    runner = interpreter.get_signature_runner(signature)
    details = runner.get_input_details() | runner.get_output_details()
    received = {name: (detail["dtype"].__name__, tuple(detail["shape"].tolist())) for name, detail in details.items()}
    if received != expected:
        raise UserError(f"{path}: expected tensors {expected}. Received: {received}")
    return runner
