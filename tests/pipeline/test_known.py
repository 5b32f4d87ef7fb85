"""A name that there is none of is refused, with the nearest one."""

from __future__ import annotations

import pytest

from tumbao.pipeline.config import UsageError
from tumbao.pipeline.known import require_known


def test_known_names_pass() -> None:
    require_known(["b", "a"], ("a", "b"), "letters")
    require_known([], (), "letters")


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("epochz", r"^Expected options out of epochs, batch\. Received: epochz; did you mean epochs\?$"),
        ("tape", r"^Expected options out of epochs, batch\. Received: tape$"),
        (5, r"Received: 5$"),
    ],
)
def test_an_unknown_name_is_refused_with_a_guess_where_there_is_one(name: object, refusal: str) -> None:
    with pytest.raises(UsageError, match=refusal):
        require_known(["batch", name], ("epochs", "batch"), "options")
