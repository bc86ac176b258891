"""A far end of a few lines on loopback, that can be moody: what the stages of an entry meet in its tests.

    with LittleFarEnd({"assets": {…}}) as far_end:
        far_end.moods += ["drop", "lose", "wait"]      the next three requests
        …
        far_end.close(); far_end.open()                gone, and back on the same port

drop: the connection ends and nothing was done. lose: it was done, and the answer is lost. wait: no answer before `let_go`.
`receipts` is what the product's far end would have noted, and `bytes_in` all that came as bodies.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LittleFarEnd:
    def __init__(self, tables: dict[str, dict[str, Any]] | None = None) -> None:
        self.tables = tables or {}
        self.moods: deque[str] = deque()
        self.receipts: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.records: dict[str, bytes] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.bytes_in = 0
        self.let_go = threading.Event()
        self.connections: set[Any] = set()
        self._lock = threading.Lock()
        self._port = 0
        self.open()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._port}/recovery-1"

    def open(self) -> None:
        far_end = self

        class Handler(_Handler):
            its = far_end

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> LittleFarEnd:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self.close()

    def note(self, **receipt: Any) -> None:
        self.receipts.append({**receipt, "execution": "recovery-1", "boottime_ns": len(self.receipts)})

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        with self._lock:
            self.asked.append(f"{method} {path}")
            self.bytes_in += len(body)
            what, *rest = path.strip("/").split("/")[1:]
            if what == "health":
                return 200, b'{"ok": true}', {}
            if what == "lookup":
                table, key = rest
                there = key in self.tables.get(table, {})
                self.note(service="lookup", name=table, id=key, first=there, status=200 if there else 404)
                return (200, json.dumps(self.tables[table][key]).encode(), {}) if there else (404, b"{}", {})
            if what == "records":
                return self._record(rest[0], headers, body)
            return self._upload(method, rest[0], headers, body)

    def _record(self, name: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        first = name not in self.records
        status = 201 if first else 200 if self.records[name] == body else 409
        self.records.setdefault(name, body)
        said = {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body), "first": first, "status": status}
        known = {"sequence": "X-Sequence", "priority": "X-Priority"}
        numbers = {key: int(headers[header]) for key, header in known.items() if header in headers}
        self.note(service="records", id=name, **said, **numbers)
        return status, b"{}", {}

    def _upload(self, method: str, name: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        there = self.uploads.get(name)
        if method == "POST":
            asked = {"length": int(headers["Upload-Length"]), "sha256": headers["Upload-Sha256"]}
            first = there is None
            there = self.uploads.setdefault(name, {**asked, "data": b""})
            status = 201 if first else 200 if {key: there[key] for key in asked} == asked else 409
            self._note_upload(name, there, status, first=first, length=asked["length"], whole_sha256=asked["sha256"])
            return status, b"{}", self._offset(there)
        if there is None:
            return 404, b"{}", {}
        if method == "PATCH":
            sha256 = hashlib.sha256(body).hexdigest()
            if int(headers["Upload-Offset"]) != len(there["data"]) or len(there["data"]) + len(body) > there["length"]:
                return 409, b"{}", self._offset(there)
            status = 204 if headers["Upload-Checksum"] == f"sha256 {sha256}" else 460
            if status == 204:
                there["data"] += body
            self._note_upload(name, there, status, first=False, sha256=sha256, bytes=len(body))
            return status, b"", self._offset(there)
        said = {"offset": len(there["data"]), "length": there["length"]}
        whole = {"sha256": hashlib.sha256(there["data"]).hexdigest()} if len(there["data"]) == there["length"] else {}
        return 200, json.dumps({**said, **whole}).encode(), self._offset(there)

    def _note_upload(self, name: str, there: dict[str, Any], status: int, **said: Any) -> None:
        complete = len(there["data"]) == there["length"]
        self.note(service="uploads", name=name, offset=len(there["data"]), complete=complete, status=status, **said)

    @staticmethod
    def _offset(there: dict[str, Any]) -> dict[str, str]:
        return {"Upload-Offset": str(len(there["data"])), "Upload-Length": str(there["length"])}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    its: LittleFarEnd

    def setup(self) -> None:
        super().setup()
        self.its.connections.add(self.connection)

    def finish(self) -> None:
        self.its.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mood = self.its.moods.popleft() if self.its.moods else ""
        if mood == "drop":
            self.close_connection = True
            return
        if mood == "wait":
            self.its.let_go.wait(30)
            self.close_connection = True
            return
        status, said, headers = self.its.answer(self.command, self.path, self.headers, body)
        if mood == "lose":
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(said)

    do_GET = do_PUT = do_POST = do_PATCH = do_HEAD = _do

    def log_message(self, format: str, *args: Any) -> None:
        pass
