"""The HTTP service of the far end: lookups, records that are sent once, and uploads that go on where they stopped.

    GET   /{execution}/health                  200 {"ok": true}
    GET   /{execution}/lookup/{table}/{key}    200 the value, 404
    PUT   /{execution}/records/{id}            201 the first time, 200 the same bytes again, 409 others under this id
    POST  /{execution}/uploads/{name}          201 begun, 200 begun before (Upload-Offset says how far), 409 as something else
    HEAD  /{execution}/uploads/{name}          200 with Upload-Offset and Upload-Length, 404
    PATCH /{execution}/uploads/{name}          204 with the new Upload-Offset, 409 not at the offset, 460 the checksum is wrong
    GET   /{execution}/uploads/{name}          200 {"offset", "length", "sha256" once complete}, 404

All but health, HEAD and the last are receipts, on the disk before the answer leaves. A record's bytes are not kept, only
their SHA-256. Whatever a device sends costs bounded memory, disk and time, and is answered or dropped; every answer is
JSON in words of ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from runner.target.far_end.receipts import Full, Receipts, plain
from runner.target.far_end.uploads import MAX_STORE_BYTES, MAX_UPLOAD_BYTES, MAX_UPLOADS, Upload

MAX_RECORD_BYTES, MAX_PIECE_BYTES, MAX_TABLE_BYTES = 1 << 20, 4 << 20, 64 << 20
MAX_LINE_BYTES, MAX_HEADER_BYTES = 2_048, 4_096
MAX_CONNECTIONS, KEEP_ALIVE_S = 64, 600.0
BODY_LIMIT_S, SILENCE_LIMIT_S = 1_800.0, 300.0  # of one body, and between two of its pieces: links are slow here on purpose
SHA256 = re.compile(r"[0-9a-f]{64}")
NOTHING = hashlib.sha256().hexdigest()
KEY = re.compile(r"[A-Za-z0-9._:@ -]{1,200}")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """All that HTTP is at one far end. `start` opens its port; `stop` closes it and every connection."""

    def __init__(self, receipts: Receipts, store: Path, tables: Path | None) -> None:
        self._receipts, self._store, self._tables = receipts, store, tables
        self._loaded: dict[str, dict[str, Any]] = {}
        self._records: dict[tuple[str, str], str] = {}  # execution and id → SHA-256 of what came first
        self._uploads: dict[tuple[str, str], Upload] = {}
        self._writing = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._take_up()

    def _take_up(self) -> None:
        """Goes on with what the receipts say had arrived. Raises OSError."""
        for receipt in self._receipts.of("records"):
            if receipt.get("first"):
                self._records[str(receipt["execution"]), str(receipt["id"])] = str(receipt["sha256"])
        for receipt in self._receipts.of("uploads"):
            key = (str(receipt["execution"]), str(receipt["name"]))
            if receipt.get("first"):
                self._uploads[key] = Upload(self._place(*key), int(receipt["length"]), str(receipt["whole_sha256"]))
            elif key in self._uploads and receipt["status"] in (204, 460):
                self._uploads[key].offset = int(receipt["offset"])
        for upload in self._uploads.values():
            upload.restore()

    def _place(self, execution: str, name: str) -> Path:
        return self._store / "uploads" / execution / name

    async def start(self, address: str, port: int) -> int:
        """The port on which it serves. Raises OSError."""
        application = web.Application(middlewares=[self._in_words], client_max_size=MAX_PIECE_BYTES)
        application.add_routes(
            [
                web.get("/{execution}/health", self._health, allow_head=False),
                web.get("/{execution}/lookup/{table}/{key}", self._lookup, allow_head=False),
                web.put("/{execution}/records/{id}", self._record),
                web.post("/{execution}/uploads/{name}", self._begin),
                web.head("/{execution}/uploads/{name}", self._stand),
                web.get("/{execution}/uploads/{name}", self._stand, allow_head=False),
                web.patch("/{execution}/uploads/{name}", self._piece),
            ]
        )
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=2.0,
            lingering_time=3.0,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            auto_decompress=False,
        )
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(self._connection, address, port)
        return int(self._server.sockets[0].getsockname()[1])

    def _connection(self) -> asyncio.Protocol:
        """A new connection's protocol. One that is too many ends the oldest: whoever holds all of them shuts nobody out."""
        server = self._runner.server if self._runner else None
        if server is None:
            raise OSError("the service is closed")

        def make_room() -> None:
            for oldest in server.connections[: max(0, len(server.connections) - MAX_CONNECTIONS)]:
                oldest.force_close()

        asyncio.get_running_loop().call_later(0.1, make_room)  # this one, and others that come with it, are counted by then
        return server()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.shutdown()
            await self._runner.cleanup()

    @web.middleware
    async def _in_words(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every answer is ours: an error is a status and a word, and a disk that failed promises nothing."""
        if not plain(str(request.match_info.get("execution", "x"))):
            return _say(400, "an execution's name is one plain word")
        try:
            return await handler(request)
        except web.HTTPException as error:
            error.text = json.dumps({"error": http_words(error.status)})
            error.content_type = "application/json"
            raise
        except (Full, _TooMuch):
            return _say(507, "the far end takes no more")
        except TimeoutError:
            return _say(408, "too slow", close=True)
        except OSError as error:
            sys.stderr.write(f"the far end's disk: {error.strerror or type(error).__name__}\n")
            return _say(503, "the far end's disk failed", close=True)
        except Exception:
            said = traceback.format_exc(limit=5).encode("ascii", "backslashreplace").decode()
            sys.stderr.write("".join(c if c.isprintable() or c == "\n" else "?" for c in said[:4000]))
            return _say(500, "the far end failed", close=True)

    # ---- what is served ---------------------------------------------------------------------------------

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": True})

    async def _lookup(self, request: web.Request) -> web.StreamResponse:
        table, key = request.match_info["table"], request.match_info["key"]
        if not plain(table) or not KEY.fullmatch(key):
            return _say(400, "a table's name is one plain word, and a key has at most 200 plain characters")
        rows = await self._table(table)
        found = key in rows
        self._receipts.note(
            service="lookup", execution=request.match_info["execution"], name=table, id=key, first=found, status=200 if found else 404
        )
        await self._receipts.flushed()
        return web.json_response(rows[key]) if found else _say(404, "there is no such key")

    async def _table(self, name: str) -> dict[str, Any]:
        """A table of the entry's, read once; without rows where there is none."""
        if name not in self._loaded:
            path = self._tables / f"{name}.json" if self._tables else None
            if path is None or not path.is_file() or path.stat().st_size > MAX_TABLE_BYTES:
                return {}
            rows = json.loads(await asyncio.to_thread(path.read_text, encoding="utf-8"))
            self._loaded[name] = rows if isinstance(rows, dict) else {}
        return self._loaded[name]

    async def _record(self, request: web.Request) -> web.StreamResponse:
        key = (request.match_info["execution"], request.match_info["id"])
        sequence, priority = _number(request, "X-Sequence"), _number(request, "X-Priority")
        if not plain(key[1]) or sequence == "bad" or priority == "bad":
            return _say(400, "an id is one plain word, and X-Sequence and X-Priority are whole numbers")
        body = await _body(request, MAX_RECORD_BYTES)
        sha256 = hashlib.sha256(body).hexdigest()
        there = self._records.get(key)
        status = 201 if there is None else 200 if there == sha256 else 409
        self._receipts.note(
            service="records", execution=key[0], id=key[1], sha256=sha256, bytes=len(body), first=there is None, status=status,
            **{name: value for name, value in (("sequence", sequence), ("priority", priority)) if value is not None},
        )  # fmt: skip
        self._records.setdefault(key, sha256)
        await self._receipts.flushed()
        return web.json_response({"sha256": self._records[key]}, status=status)

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        key = (request.match_info["execution"], request.match_info["name"])
        length, sha256 = _number(request, "Upload-Length"), request.headers.get("Upload-Sha256", "")
        if not plain(key[1]) or not isinstance(length, int) or not SHA256.fullmatch(sha256):
            return _say(400, "a name is one plain word, Upload-Length a whole number, Upload-Sha256 64 hex digits")
        if length > MAX_UPLOAD_BYTES:
            return _say(413, "an upload has at most 256 MiB")
        if not length and sha256 != NOTHING:
            return _say(460, "not what its checksum says")
        async with self._writing:
            upload = self._uploads.get(key)
            first = upload is None
            if upload is None:
                if len(self._uploads) >= MAX_UPLOADS or sum(each.length for each in self._uploads.values()) + length > MAX_STORE_BYTES:
                    raise _TooMuch
                upload = Upload(self._place(*key), length, sha256)
                await asyncio.to_thread(upload.restore)
            same = (upload.length, upload.sha256) == (length, sha256)
            status = 201 if first else 200 if same else 409
            self._note_upload(key, upload, status, first=first, length=length, whole_sha256=sha256)
            self._uploads[key] = upload
        await self._receipts.flushed()
        if not same:
            return _say(409, "begun as another")
        return web.json_response({"offset": upload.offset}, status=status, headers=_headers(upload))

    async def _stand(self, request: web.Request) -> web.StreamResponse:
        upload = self._uploads.get((request.match_info["execution"], request.match_info["name"]))
        if upload is None:
            return _say(404, "there is no such upload")
        said: dict[str, Any] = {"offset": upload.offset, "length": upload.length}
        if upload.complete:
            said["sha256"] = upload.sha256
        return web.json_response(said, headers=_headers(upload))

    async def _piece(self, request: web.Request) -> web.StreamResponse:
        key = (request.match_info["execution"], request.match_info["name"])
        upload, offset = self._uploads.get(key), _number(request, "Upload-Offset")
        kind, _, checksum = request.headers.get("Upload-Checksum", "").partition(" ")
        if upload is None:
            return _say(404, "there is no such upload")
        if not isinstance(offset, int) or kind != "sha256" or not SHA256.fullmatch(checksum):
            return _say(400, "Upload-Offset is a whole number, Upload-Checksum is sha256 and 64 hex digits")
        piece = await _body(request, MAX_PIECE_BYTES)
        sha256 = hashlib.sha256(piece).hexdigest()
        async with self._writing:
            status = 204
            if offset != upload.offset or offset + len(piece) > upload.length:
                status = 409
            elif sha256 != checksum or not await asyncio.to_thread(upload.append, piece):
                status = 460
            whole = {"whole_sha256": upload.sha256} if upload.complete else {}
            self._note_upload(key, upload, status, first=False, sha256=sha256, bytes=len(piece), **whole)
        await self._receipts.flushed()
        if status == 204:
            return web.Response(status=204, headers=_headers(upload))
        return _say(status, "not at this offset" if status == 409 else "not what its checksum says", headers=_headers(upload))

    def _note_upload(self, key: tuple[str, str], upload: Upload, status: int, **said: Any) -> None:
        self._receipts.note(
            service="uploads", execution=key[0], name=key[1], offset=upload.offset, complete=upload.complete, status=status, **said
        )


class _TooMuch(Exception):
    """The store has no room for what is asked."""


async def _body(request: web.Request, limit: int) -> bytes:
    """A request's whole body. Raises HTTPRequestEntityTooLarge before more than `limit` is held, TimeoutError when it drips too slowly."""
    if (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    body = bytearray()
    async with asyncio.timeout(BODY_LIMIT_S):
        while piece := await asyncio.wait_for(request.content.readany(), SILENCE_LIMIT_S):
            body += piece
            if len(body) > limit:
                raise web.HTTPRequestEntityTooLarge(limit, len(body))
    return bytes(body)


def _number(request: web.Request, name: str) -> int | str | None:
    """A header's whole number; "bad" if it is none, None if it is not there."""
    said = request.headers.get(name)
    return None if said is None else int(said) if re.fullmatch(r"[0-9]{1,15}", said) else "bad"


def _headers(upload: Upload) -> dict[str, str]:
    return {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length)}


def _say(status: int, said: str, headers: dict[str, str] | None = None, close: bool = False) -> web.Response:
    """An answer in our words; with `close` the connection ends behind it, whatever is still to come on it."""
    response = web.json_response({"error": said}, status=status, reason=said if status == 460 else None, headers=headers)
    if close:
        response.force_close()
    return response


def http_words(status: int) -> str:
    """What an error of the HTTP library means here."""
    return {404: "there is nothing of this name", 405: "not in this way", 413: "too large"}.get(status, "not a request that is served here")
