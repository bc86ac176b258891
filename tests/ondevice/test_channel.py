"""Supervisor and host, one question at a time."""

from __future__ import annotations

import socket

import pytest

from runner.ondevice.channel import Channel


def test_each_end_hears_what_the_other_told_in_order() -> None:
    """Two messages in one read are two messages; `call` gives the answer."""
    ours, theirs = (Channel(end) for end in socket.socketpair())
    ours.tell({"say": "one"})
    ours.tell({"say": "two"})
    assert [theirs.hear(), theirs.hear()] == [{"say": "one"}, {"say": "two"}]
    theirs.tell({"ack": True})
    assert ours.call({"say": "three"}) == {"ack": True}


def test_an_end_that_is_gone_is_an_eof() -> None:
    """What it told before is still heard."""
    ours, theirs = socket.socketpair()
    Channel(theirs).tell({"say": "last"})
    theirs.close()
    channel = Channel(ours)
    assert channel.hear() == {"say": "last"}
    with pytest.raises(EOFError):
        channel.hear()
