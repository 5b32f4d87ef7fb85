from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tumbao.schema.errors import UserError
from tumbao.trainer.linear import Songs, fit_regression, to_keras

GROUPS = (4, 12)


def songs(count: int, genres: int, seed: int, scale: float = 1.0, shift: float = 0.0, noise: float = 1.0) -> Songs:
    """Make songs whose first columns tell the genre, in units of another kind of sound."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % genres
    features = noise * rng.standard_normal((count, sum(GROUPS)))
    features[:, :genres] += 2 * np.eye(genres)[labels]
    return Songs(scale * features + shift, labels)


def predict(found: object, features: np.ndarray) -> np.ndarray:
    return np.asarray(to_keras(found)(features.astype(np.float32)))  # type: ignore[arg-type]


@pytest.mark.parametrize("genres", [2, 4])
def test_the_keras_model_is_scikit_learns(genres: int) -> None:
    train, test = songs(40, genres, 1), songs(9, genres, 2)
    found = fit_regression(train, genres, GROUPS)
    widths = np.sqrt(np.repeat(GROUPS, GROUPS))

    def scaled(features: np.ndarray) -> np.ndarray:
        return (features - train.features.mean(axis=0)) / train.features.std(axis=0) / widths

    sklearns = LogisticRegression(C=found.penalty, class_weight="balanced", max_iter=2_000)
    sklearns.fit(scaled(train.features), train.labels)
    np.testing.assert_allclose(predict(found, test.features), sklearns.predict_proba(scaled(test.features)), atol=1e-5)


def test_composed_songs_of_another_scale_help_few_songs() -> None:
    few, test = songs(6, 3, 1, noise=1.5), songs(300, 3, 2, noise=1.5)
    composed = songs(120, 3, 3, scale=50.0, shift=7.0, noise=1.5)
    alone, joined = fit_regression(few, 3, GROUPS), fit_regression(few, 3, GROUPS, composed)

    def accuracy(found: object) -> float:
        return float((predict(found, test.features).argmax(axis=1) == test.labels).mean())

    assert joined.composed_weight > 0
    assert accuracy(joined) > accuracy(alone) + 0.05


def test_composed_songs_that_mislead_are_not_used() -> None:
    composed = songs(120, 3, 3)
    wrong = Songs(composed.features, (composed.labels + 1) % 3)
    assert fit_regression(songs(60, 3, 1), 3, GROUPS, wrong).composed_weight == 0


def test_out_of_fold_predictions_are_of_songs_that_were_not_trained_on() -> None:
    noise = Songs(np.random.default_rng(0).standard_normal((40, 16)), np.arange(40) % 2)
    found = fit_regression(noise, 2, GROUPS)
    assert found.probabilities is not None
    assert found.log_loss == pytest.approx(np.log(2), abs=0.1)


def test_one_song_of_a_genre_is_enough() -> None:
    train = songs(3, 3, 1, noise=0.1)
    found = fit_regression(train, 3, GROUPS)
    assert found.log_loss is None
    assert predict(found, train.features).argmax(axis=1).tolist() == [0, 1, 2]


def test_a_constant_column_is_harmless() -> None:
    train = songs(20, 2, 1)
    train.features[:, 5] = 0.25
    assert np.isfinite(predict(fit_regression(train, 2, GROUPS), train.features)).all()


def test_a_genre_without_songs_is_refused() -> None:
    with pytest.raises(UserError, match="none with label"):
        fit_regression(songs(8, 2, 1), 3, GROUPS)
