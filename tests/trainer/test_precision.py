"""The backbone may compute in bfloat16 where that is faster: the answers must stay what they are in float32."""

from __future__ import annotations

import keras
import numpy as np

from tumbao.components.ingest.mel import mel_image
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.model import dense_head
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import vgg16_backbone


def test_accuracy_in_bfloat16_differs_by_one_fragment_at_most(rng: np.random.Generator) -> None:
    spec = MelSpec()
    labels = np.arange(12) % 3
    time = np.arange(spec.fragment_samples) / spec.sample_rate_hz
    tones = [np.sin(2 * np.pi * 200 * 3**label * rng.uniform(0.9, 1.1) * time) for label in labels]
    fragments = np.stack(tones) + 0.01 * rng.standard_normal((12, spec.fragment_samples))
    images = mel_image(fragments.astype(np.float32), spec).numpy()

    exact = vgg16_backbone(None, "float32").predict(images, batch_size=4, verbose=0)
    rounded = vgg16_backbone(None, "mixed_bfloat16").predict(images, batch_size=4, verbose=0)
    assert not np.array_equal(exact, rounded)  # it did compute in another precision

    model = dense_head((9, 9, 512), 3, Training(seed=0))
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    model.fit(exact[:6], labels[:6], epochs=10, batch_size=3, verbose=0)
    right = [(model.predict(features, verbose=0).argmax(1) == labels)[6:].sum() for features in (exact, rounded)]
    assert right[0] >= 4  # clearly more than chance, so that there is something to lose
    assert abs(int(right[0]) - int(right[1])) <= 1
