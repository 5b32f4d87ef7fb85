from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from tumbao.trainer.boosting import boosted_head, empty_boosted, load_trees

Data = tuple[np.ndarray, np.ndarray]


def clouds(genres: int, count: int, seed: int, spread: float = 1.5) -> Data:
    """Make overlapping clouds in 6 dimensions, one a genre: float32 [count, 6] and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % genres
    centres = np.random.default_rng(0).normal(size=(genres, 6)) * 2
    return (centres[labels] + spread * rng.normal(size=(count, 6))).astype(np.float32), labels


def ensemble(data: Data, rounds: int, depth: int) -> AdaBoostClassifier:
    trees = DecisionTreeClassifier(max_depth=depth)
    return AdaBoostClassifier(trees, n_estimators=rounds, algorithm="SAMME", random_state=1).fit(*data)


@pytest.mark.parametrize(("genres", "depth"), [(2, 1), (5, 2), (5, 4)])
def test_probabilities_are_scikit_learns(genres: int, depth: int) -> None:
    fitted = ensemble(clouds(genres, 150, seed=1), 12, depth)
    model = empty_boosted(6, genres=genres, rounds=12, depth=depth)
    load_trees(model, fitted, rounds=12, sharpness=1.0)
    unseen, _ = clouds(genres, 400, seed=2)
    probabilities = model(unseen).numpy()
    np.testing.assert_allclose(probabilities, fitted.predict_proba(unseen), atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_shallow_trees_and_missing_rounds_change_nothing() -> None:
    features = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    fitted = ensemble((features, np.array([0, 0, 1, 1])), rounds=10, depth=3)
    assert len(fitted.estimators_) == 1  # it is perfect, with one decision where there is room for three
    model = empty_boosted(1, genres=2, rounds=10, depth=3)
    load_trees(model, fitted, rounds=10, sharpness=1.0)
    np.testing.assert_allclose(model(features).numpy(), fitted.predict_proba(features), atol=1e-6)


@pytest.mark.parametrize("steps", [2, 3])
def test_a_threshold_is_compared_as_scikit_learn_does(steps: int) -> None:
    numbers = (4_096 + np.spacing(np.float32(4_096)) * np.arange(steps + 1)).astype(np.float32)[:, np.newaxis]
    fitted = ensemble((numbers[[0, -1]], np.array([0, 1])), rounds=1, depth=1)
    threshold = fitted.estimators_[0].tree_.threshold[0]
    assert (threshold == np.float32(threshold)) == (steps == 2)  # the middle of three steps is no float32
    model = empty_boosted(1, genres=2, rounds=1, depth=1)
    load_trees(model, fitted, rounds=1, sharpness=1.0)
    np.testing.assert_array_equal(model(numbers).numpy().argmax(axis=1), fitted.predict(numbers))
    assert 0 < fitted.predict(numbers).sum() < steps + 1


def test_the_round_with_the_best_validation_accuracy_is_used() -> None:
    train, val = clouds(5, 300, seed=1), clouds(5, 200, seed=2)
    model, history, best_round = boosted_head(*train, None, validation=val, genres=5, rounds=40, depth=2, seed=1)
    best = max(history, key=lambda figures: (figures["val_accuracy"], -figures["val_loss"]))
    probabilities = model(val[0]).numpy().astype(float)
    assert len(history) == 40
    assert history[best_round - 1] == best
    assert np.mean(probabilities.argmax(axis=1) == val[1]) == pytest.approx(best["val_accuracy"])
    assert best["val_accuracy"] > 0.6
    own = probabilities[np.arange(len(val[1])), val[1]]
    assert -np.log(own).mean() == pytest.approx(best["val_loss"], abs=1e-5)
    assert best["val_loss"] < np.log(5)


def test_sample_weights_change_the_first_tree() -> None:
    features, labels = np.repeat([[0.0], [1.0]], 10, axis=0), np.array([0] * 6 + [1] * 4 + [1] * 10)
    favoured = []
    for weight in (1.0, 9.0):
        weights = np.where(labels == 1, weight, 1.0)
        data = (features.astype(np.float32), labels)
        model, *_ = boosted_head(*data, weights, validation=data, genres=2, rounds=1, depth=1, seed=1)
        favoured.append(int(model(np.zeros((1, 1), np.float32)).numpy().argmax()))
    assert favoured == [0, 1]


def test_a_genre_without_fragments_is_refused() -> None:
    features, labels = clouds(3, 30, seed=1)
    with pytest.raises(ValueError, match=r"every genre.*Received: none with label \[3\]"):
        boosted_head(features, labels, None, validation=(features, labels), genres=4, rounds=2, depth=1, seed=1)
