"""What a line echoes of a password, in a log and in a sentence."""

from __future__ import annotations

import pytest

from runner.target.credentials import Secret
from runner.target.serial.hiding import Hiding, hidden
from runner.target.serial.login import Login, S


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_it_is_in_no_log_however_it_arrives(size: int) -> None:
    """In pieces of any size; what only begins like it is kept, and so is all that stands around it."""
    said: list[bytes] = []
    log, heard = Hiding(said.append, Secret("aab")), b"Password: aaab\r\naa, aab; aac aabaab\r\n"
    for at in range(0, len(heard), size):
        log(heard[at : at + size])
    log.rest()
    assert b"".join(said).decode() == "Password: a…\r\naa, …; aac ……\r\n"


def test_its_beginning_at_the_end_is_not_told_either() -> None:
    """A line that is lost in the middle of its echo."""
    said: list[bytes] = []
    log = Hiding(said.append, Secret("correct-horse"))
    log(b"Password: correct-hor")
    log.rest()
    log.rest()
    assert b"".join(said).decode() == hidden(b"Password: correct-hor", Secret("correct-horse")).decode() == "Password: …"


def test_without_a_password_nothing_is_changed_or_kept_back() -> None:
    """The negative control: each piece is in the log at once."""
    said: list[bytes] = []
    log = Hiding(said.append, None)
    log(b"Password: ")
    log(b"x")
    assert said == [b"Password: ", b"x"] and hidden(b"x", None) == b"x"


@pytest.mark.parametrize(
    "echoed", [b"Password: correct-horse", b"Password: correct-horse\r\n", b"Password: correct-ho", b"correct-horse " * 30]
)
def test_it_is_in_no_error_of_a_login(echoed: bytes) -> None:
    """Whole, in part, and where the sentence has room for the last words only."""
    login = Login("root", Secret("correct-horse"), 0, (1, 2))
    for at in range(0, len(echoed), 3):
        login.hear(echoed[at : at + 3], S)
    login.due(200 * S)
    assert login.error and "the last words were" in str(login.error)
    assert "corr" not in str(login.error) and "horse" not in str(login.error)
