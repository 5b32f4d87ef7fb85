"""What the report says of songs that were not as they should be."""

from __future__ import annotations

from typing import Any

import pytest

from tumbao.pipeline.collect import remarks

SOUND: dict[str, Any] = {"padded": False, "truncated": False, "silent": 0, "seconds": 95.04, "declared_seconds": 200.0}


@pytest.mark.parametrize(
    ("told", "remark"),
    [
        ({"padded": True}, "shorter than a fragment: silence was added"),
        ({"truncated": True}, "truncated: decoded 95.0 of 200.0 s"),
        ({"truncated": True, "declared_seconds": None}, "truncated: decoded 95.0 s"),
        ({"silent": 1}, "1 fragment is silent and left out"),
        ({"silent": 3}, "3 fragments are silent and left out"),
    ],
)
def test_each_fault_has_its_remark(told: dict[str, Any], remark: str) -> None:
    assert list(remarks(SOUND | told)) == [remark]


def test_a_sound_song_has_none_and_a_bad_one_several() -> None:
    assert list(remarks(SOUND)) == []
    assert len(list(remarks(SOUND | {"padded": True, "truncated": True, "silent": 1}))) == 3
