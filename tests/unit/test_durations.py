import pytest

from cocoon_sdk.durations import format_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (90, "1 minute 30 seconds"),
        (3600, "1 hour"),
        (3605, "1 hour"),
        (86_400, "24 hours"),
        (2 * 86_400, "2 days"),
        (31_535_598, "364 days 23 hours"),
    ],
)
def test_durations_in_words(seconds: int, words: str) -> None:
    assert format_duration(seconds) == words
