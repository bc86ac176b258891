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


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("ends", ["\r\n", "\n"])
def test_an_echo_that_the_line_damaged_is_not_kept_either(size: int, ends: str) -> None:
    """Nothing of the line behind what was typed, in log or error; what a login says that does not echo is kept whole."""
    secret, said = Secret("correct-horse"), list[bytes]()
    log, login = Hiding(said.append, secret), Login("root", secret, 0, (1, 2))
    login.hear(b"board login: ", S)
    assert login.due(2 * S) == b"root\r"
    log(b"Password: ")
    login.hear(b"root\r\nPassword: ", 3 * S)
    typed = login.due(4 * S)
    assert typed == b"correct-horse\r"
    log.typed(typed)
    echo = f"corrEct-hors{ends}Last login: today\r\n".encode()
    for at in range(0, len(echo), size):
        log(echo[at : at + size])
        login.hear(echo[at : at + size], 4 * S + at)
        assert b"orr" not in login._echoing + login._last_words
    assert b"".join(said).decode() == f"Password: …{ends}Last login: today\r\n"
    login.hear(b"", 5 * S)
    login.due(400 * S)
    assert "the last words were: Last login: today" in str(login.error)


def test_a_login_that_does_not_echo_is_kept_whole() -> None:
    """The negative control; and what never ends its line is kept again after a while."""
    said: list[bytes] = []
    log = Hiding(said.append, Secret("correct-horse"))
    log.typed(b"root\r")
    log(b"root\r\n")
    log.typed(b"correct-horse\r")
    log(b"\r\nLogin incorrect\r\n")
    assert b"".join(said) == b"root\r\n\r\nLogin incorrect\r\n"
    log.typed(b"correct-horse\r")
    log(600 * b"#" + b"end")
    assert b"".join(said).endswith(88 * b"#" + b"end")


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
