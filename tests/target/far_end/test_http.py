"""The HTTP service over real sockets: what was promised is on the disk, and a hostile device costs little and breaks nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.target.far_end import http as service_module
from runner.target.far_end.http import MAX_CONNECTIONS, Service
from runner.target.far_end.receipts import Receipts


class Served:
    """A service in a thread with a loop of its own, and one client of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port = self._do(self._start())

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> int:
        self.log = Receipts(self.folder / "receipts.jsonl")
        self._service = Service(self.log, self.folder / "store", self.folder / "tables")
        return await self._service.start("127.0.0.1", 0)

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        self._do(self._service.stop())
        self.log.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            data = response.read()
            return response.status, json.loads(data) if data else None, dict(response.headers)
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """All that comes back for these bytes until the far end has nothing more to say."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    @property
    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "receipts.jsonl").read_text().splitlines()]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "fleet.json").write_text('{"T-100": {"model": "pump"}}')
    far_end = Served(tmp_path)
    yield far_end
    far_end.stop()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_it_says_that_it_is_there(served: Served) -> None:
    """Health is answered, and is no receipt."""
    assert served.ask("GET", "/baseline/health")[:2] == (200, {"ok": True})
    assert served.receipts == []


def test_a_lookup_is_the_entrys_own_table(served: Served) -> None:
    """A row that is there, one that is not, and a table that is not."""
    assert served.ask("GET", "/baseline/lookup/fleet/T-100")[:2] == (200, {"model": "pump"})
    assert [served.ask("GET", f"/baseline/lookup/{path}")[0] for path in ("fleet/T-9", "none/T-100")] == [404, 404]
    assert [(r["service"], r["name"], r["id"], r["first"]) for r in served.receipts] == [
        ("lookup", "fleet", "T-100", True),
        ("lookup", "fleet", "T-9", False),
        ("lookup", "none", "T-100", False),
    ]


def test_a_record_is_taken_once(served: Served) -> None:
    """201 the first time, 200 for the same bytes, 409 for others; each is a receipt that says which."""
    assert served.ask("PUT", "/baseline/records/a-1", b"one", X_Sequence="7", X_Priority="2")[:2] == (201, {"sha256": sha256(b"one")})
    assert served.ask("PUT", "/baseline/records/a-1", b"one")[0] == 200
    assert served.ask("PUT", "/baseline/records/a-1", b"two")[0] == 409
    assert served.ask("PUT", "/chaos/records/a-1", b"two")[0] == 201, "another execution's records are its own"
    first, again, other, _ = served.receipts
    assert (first["sequence"], first["priority"], first["bytes"], first["sha256"]) == (7, 2, 3, sha256(b"one"))
    assert [(r["first"], r["status"]) for r in (first, again, other)] == [(True, 201), (False, 200), (False, 409)]
    assert "sequence" not in again
    assert first["boottime_ns"] < again["boottime_ns"]


def upload(served: Served, name: str, pieces: list[bytes]) -> list[int]:
    """The statuses of an upload in pieces."""
    whole, offset = b"".join(pieces), 0
    statuses = [served.ask("POST", f"/baseline/uploads/{name}", Upload_Length=str(len(whole)), Upload_Sha256=sha256(whole))[0]]
    for piece in pieces:
        headers = {"Upload_Offset": str(offset), "Upload_Checksum": f"sha256 {sha256(piece)}"}
        statuses.append(served.ask("PATCH", f"/baseline/uploads/{name}", piece, **headers)[0])
        offset += len(piece)
    return statuses


def test_an_upload_arrives_in_pieces(served: Served) -> None:
    """Begun, two pieces, complete: its length and hash are told, and the last receipt says that it is whole."""
    assert upload(served, "model.bin", [b"a" * 1000, b"b" * 500]) == [201, 204, 204]
    assert served.ask("GET", "/baseline/uploads/model.bin")[1] == {
        "offset": 1500,
        "length": 1500,
        "sha256": sha256(b"a" * 1000 + b"b" * 500),
    }
    assert [(r["offset"], r["complete"]) for r in served.receipts] == [(0, False), (1000, False), (1500, True)]
    assert (served.folder / "store/uploads/baseline/model.bin").read_bytes() == b"a" * 1000 + b"b" * 500


def test_an_upload_says_how_far_it_is(served: Served) -> None:
    """HEAD and a second POST tell the offset; a POST as something else is refused."""
    begin = {"Upload_Length": "10", "Upload_Sha256": sha256(b"0123456789")}
    served.ask("POST", "/baseline/uploads/a", **begin)
    served.ask("PATCH", "/baseline/uploads/a", b"0123", Upload_Offset="0", Upload_Checksum=f"sha256 {sha256(b'0123')}")
    status, _, headers = served.ask("HEAD", "/baseline/uploads/a")
    assert (status, headers["Upload-Offset"], headers["Upload-Length"]) == (200, "4", "10")
    assert served.ask("POST", "/baseline/uploads/a", **begin)[0::2][1]["Upload-Offset"] == "4"
    assert served.ask("POST", "/baseline/uploads/a", **{**begin, "Upload_Length": "11"})[0] == 409
    assert served.ask("HEAD", "/baseline/uploads/b")[0] == 404


@pytest.mark.parametrize(
    ("offset", "checksum_of", "status"),
    [("4", b"zzzz", 409), ("0", b"other", 460), ("0", b"zzzz" * 9, 460), ("x", b"zzzz", 400)],
)
def test_a_piece_that_does_not_fit_is_not_taken(served: Served, offset: str, checksum_of: bytes, status: int) -> None:
    """At another offset, or with another checksum: the offset stays where it was, and no byte is kept."""
    served.ask("POST", "/baseline/uploads/a", Upload_Length="8", Upload_Sha256=sha256(b"zzzzzzzz"))
    headers = {"Upload_Offset": offset, "Upload_Checksum": f"sha256 {sha256(checksum_of)}"}
    assert served.ask("PATCH", "/baseline/uploads/a", b"zzzz", **headers)[0] == status
    assert served.ask("GET", "/baseline/uploads/a")[1]["offset"] == 0
    assert (served.folder / "store/uploads/baseline/a").read_bytes() == b""


def test_a_whole_that_is_not_what_was_said_begins_again(served: Served) -> None:
    """Pieces may each be right and the whole wrong: 460, and the offset is 0."""
    served.ask("POST", "/baseline/uploads/a", Upload_Length="4", Upload_Sha256=sha256(b"abcd"))
    assert served.ask("PATCH", "/baseline/uploads/a", b"abcx", Upload_Offset="0", Upload_Checksum=f"sha256 {sha256(b'abcx')}")[0] == 460
    assert served.ask("GET", "/baseline/uploads/a")[1] == {"offset": 0, "length": 4}


def test_a_restart_goes_on_with_what_had_arrived(served: Served, tmp_path: Path) -> None:
    """Records, uploads and offsets are as they were answered; a half line and bytes that no receipt knows are cut off."""
    served.ask("PUT", "/baseline/records/a-1", b"one")
    served.ask("POST", "/baseline/uploads/a", Upload_Length="8", Upload_Sha256=sha256(b"abcdefgh"))
    served.ask("PATCH", "/baseline/uploads/a", b"abcd", Upload_Offset="0", Upload_Checksum=f"sha256 {sha256(b'abcd')}")
    served.stop()
    with (tmp_path / "receipts.jsonl").open("a") as log, (tmp_path / "store/uploads/baseline/a").open("a") as part:
        log.write('{"service":"records","half')
        part.write("unacknowledged")
    again = Served(tmp_path)
    try:
        assert again.ask("PUT", "/baseline/records/a-1", b"one")[0] == 200
        assert again.ask("PUT", "/baseline/records/a-1", b"two")[0] == 409
        headers = {"Upload_Offset": "4", "Upload_Checksum": f"sha256 {sha256(b'efgh')}"}
        assert again.ask("PATCH", "/baseline/uploads/a", b"efgh", **headers)[0] == 204
        assert again.ask("GET", "/baseline/uploads/a")[1]["sha256"] == sha256(b"abcdefgh")
        assert len(again.receipts) == 6
    finally:
        again.stop()


def test_a_disk_that_fails_promises_nothing(served: Served) -> None:
    """Once the log cannot be written, every answer is 503, for what was there before as well."""
    served.ask("PUT", "/baseline/records/a-1", b"one")
    served.log.broken = OSError(28, "No space left on device")
    assert served.ask("PUT", "/baseline/records/a-1", b"one")[0] == 503
    assert served.ask("PUT", "/baseline/records/a-2", b"two")[0] == 503
    assert len(served.receipts) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/baseline/records/a"),
        ("DELETE", "/baseline/records/a"),
        ("PUT", "/../records/a"),
        ("PUT", "/baseline/records/.."),
        ("PUT", "/baseline/records/%2e%2e"),
        ("PUT", "/baseline/records/a%2Fb"),
        ("PUT", "/baseline/records/%00"),
        ("PUT", "/%2e%2e%2fetc/records/a"),
        ("PUT", "/baseline/records/" + "a" * 81),
        ("GET", "/baseline/lookup/..%2Ffleet/T-100"),
        ("PUT", "/baseline/records/" + "a" * 5000),
    ],
)
def test_what_is_no_request_of_ours_is_refused(served: Served, method: str, path: str) -> None:
    """Other methods, names that lead elsewhere, names without an end: a word, no receipt, no file."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request(method, path, b"x")
    assert connection.getresponse().status in (400, 404, 405)
    connection.close()
    assert served.receipts == []
    assert not (served.folder / "store").exists()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PUT /a/records/b HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        b"PUT /a/records/b HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT /a/records/b HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"PUT /a/records/b HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        b"PUT /a/records/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PUT /a/records/b HTTP/1.1\r\nHost: x\r\nX-Sequence: \x1b[2J\r\nContent-Length: 0\r\n\r\n",
        b"PUT /a/uploads/b HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
    ],
)
def test_garbage_is_answered_or_dropped(served: Served, request_bytes: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """No receipt, nothing of it in our own words, and the next client is served."""
    with contextlib.suppress(OSError):  # dropped in the middle of it
        served.raw(request_bytes)
    assert served.receipts == []
    assert served.ask("GET", "/baseline/health")[0] == 200
    assert "\x1b" not in "".join(capfd.readouterr())


def test_a_body_without_an_end_takes_no_memory(served: Served) -> None:
    """A chunked body is ended as soon as it is longer than a record may be."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as sock:
        sock.sendall(b"PUT /a/records/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(17):
            sock.sendall(chunk)
        assert b" 413 " in sock.recv(100)
    assert served.receipts == []


def test_a_body_that_drips_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing came for so long: 408, and the connection ends."""
    monkeypatch.setattr(service_module, "SILENCE_LIMIT_S", 0.05)
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as sock:
        sock.sendall(b"PUT /a/records/b HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        said = b"".join(iter(lambda: sock.recv(4096), b""))
    assert b" 408 " in said
    assert served.receipts == []


def test_whoever_holds_all_connections_shuts_nobody_out(served: Served) -> None:
    """One more than may be open ends the oldest."""
    held = [socket.create_connection(("127.0.0.1", served.port), timeout=30) for _ in range(MAX_CONNECTIONS + 1)]
    assert held[0].recv(1) == b""
    assert served.ask("GET", "/baseline/health")[0] == 200
    for sock in held:
        sock.close()


def test_the_store_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than there is room for is refused when it is begun, before a byte of it came."""
    monkeypatch.setattr(service_module, "MAX_STORE_BYTES", 1000)
    begin = {"Upload_Sha256": sha256(b"x")}
    assert served.ask("POST", "/baseline/uploads/a", Upload_Length="900", **begin)[0] == 201
    assert served.ask("POST", "/baseline/uploads/b", Upload_Length="101", **begin)[0] == 507
    assert served.ask("POST", "/baseline/uploads/c", Upload_Length=str(1 << 40), **begin)[0] == 413
