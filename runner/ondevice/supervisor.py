"""The supervisor: the process that works on by itself while coordinators come and go.

    install  unpack and compile the zip that this is, and print the script to start
    start    take the device for a coordinator (claim.py; not at boot), become the one supervisor of this state
             folder (a lock says who), restore what was cut short, then serve; returns when it answers: starting.py
    attach   join standard input and output to the supervisor's socket: bridge.py
    host     (internal) run one pipeline, see host.py
    guard    (internal) carry out programs and take them back, see guard.py
    revert   take back, by hand and without a coordinator, what is armed on this device: all of it, or one program

Requests are JSON frames {"id", "do", …} answered by {"id", "ok"} or {"id", "error"}; events carry
{"event", …}; journal records travel raw in RECORD frames, and only once they are flushed. A coordinator says in
its hello under which claim it comes; whoever is not the device's holder may say hello, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import struct
import sys
import threading
import time
from typing import Any, Callable

from . import facts, frames
from .claim import Claims, NotYours
from .execution import Execution, scarce_of
from .guarded import Guarded, GuardGone
from .journal import GENESIS, fsync_folder
from .kept import JournalRefused, Kept, find_current
from .results import finished_stages
from .say import say, say_what_was_raised
from .store import WHOLE, Store, locate

LOG_LIMIT_BYTES = 256 * 1024  # of one execution's log, from its end
IDLE_LIMIT_S = 120.0  # a supervisor that nobody needs any more ends by itself
SLOW = ("probe_train", "probe_catch", "work", "prove_scarcity", "clear_strays")  # others of the same coordinator do not wait for these


class Supervisor:
    """All state of one supervisor; verbs are the methods named `do_*`."""

    def __init__(self, state: str, started_ns: int, claims: Claims, runtime: str = "") -> None:
        """`runtime` is the folder of sockets, by default the state folder itself."""
        self._state, self._started_ns, self.claims = state, started_ns, claims
        self.guarded = Guarded(state, runtime or state)
        self._runs = os.path.join(state, "runs")
        os.makedirs(self._runs, mode=0o700, exist_ok=True)
        self.store = Store(state)
        fsync_folder(state)
        self._canary = facts.Canary(state)
        self._sha256 = own_sha256()
        self._clients: list[Client] = []
        self.execution: Execution | None = None
        self.refused: dict[str, str] | None = None  # the execution that a restart found and would not go on with, and why
        self._probe: Any = None  # made when it is first asked for
        self._making_probe = threading.Lock()
        self._burning: Any = None  # made when it is first asked for
        self._one_work = threading.Lock()

    def restore(self) -> None:
        """Goes on, by itself and at once, with the execution that a crash or power cut interrupted.

        One that had already ended is only kept at hand, so that its journal can still be drained.
        """
        folder = find_current(self._runs)
        if folder:
            try:
                self.execution = Execution.reopen(folder, self.store, self.publish, self._started_ns)
            except (JournalRefused, OSError) as error:
                self.refused = {"execution": os.path.relpath(folder, self._runs), "reason": str(error)}
                say(f"{folder}: {error}")
            if self.execution and self.execution.ended:
                self.execution.over = True
            elif self.execution:
                self._attend(self.execution)
                for stage in finished_stages(self.execution.journal.records) if self.guarded.armed() else ():
                    self.stage(stage, "end")  # whoever was killed may not have said so any more
                self.execution.start(restore=True)

    def _attend(self, execution: Execution) -> None:
        """What an execution tells this supervisor, and asks of it, while it lives."""
        execution.on_stage, execution.beside_samples = self.stage, self._beside_samples

    def _beside_samples(self) -> dict[str, Any]:
        return {"link_probe": self._probe.standing()} if self._probe is not None else {}

    def stage(self, stage: str, edge: str) -> None:
        """A stage of the pipeline starts or has ended: programs whose time begins with it begin. A guard that is gone stops no pipeline."""
        try:
            answer = self.guarded.ask_if_armed("stage", heard=False, stage=stage, edge=edge) or {}
            for failed in answer.get("failed", []):
                say(f"programs at the {edge} of {stage}: {failed}")
        except (OSError, ValueError) as error:
            say(f"programs at the {edge} of {stage}: {error}")

    def publish(self, event: dict[str, Any]) -> None:
        for client in list(self._clients):
            client.send(frames.encode_json(event))

    def serve(self, listener: socket.socket) -> None:
        """Answers whoever attaches. Returns when nobody has been attached for IDLE_LIMIT_S and nothing is under way."""
        listener.settimeout(IDLE_LIMIT_S / 10)
        busy = time.monotonic()
        while time.monotonic() - busy < IDLE_LIMIT_S:
            if self._clients or (self.execution is not None and not self.execution.over) or self.guarded.needed():
                busy = time.monotonic()
            try:
                connection, _ = listener.accept()
            except socket.timeout:
                continue
            connection.setblocking(True)
            client = Client(connection, self)
            self._clients.append(client)
            threading.Thread(target=client.listen, daemon=True).start()

    def gone(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)

    # ---- verbs ------------------------------------------------------------------------------------------

    def do_hello(self, client: Client, claim: dict[str, Any] | None = None, take: bool = False) -> dict[str, Any]:
        """Who and what this is. With `take` the device is `claim`'s from here on, as it would be by `start`; else it must be already."""
        if claim is not None:
            (self.claims.take if take else self.claims.check)(claim)
            client.claim = claim
        state = self.execution.state() if self.execution else None
        return {**facts.hello(self._state, self._sha256, self._started_ns), "execution": state}

    def do_renew(self, client: Client) -> dict[str, Any]:
        """Any request is the holder's sign of life; this one is nothing else, and renews every program that is armed."""
        try:
            return self.guarded.ask_if_armed("renew") or {}
        except GuardGone as error:
            return {"renewed": [], "guard": str(error)}

    def do_arm(
        self, client: Client, program: dict[str, Any], run: str, cap_s: float, renew_s: float = 60.0, elapsed_s: float = 0.0,
        confirm_s: float = 120.0, escalate: bool | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Undo and deadlines of a program are durable when this answers, and nothing of it is applied yet."""
        plain_name(str(program.get("name")))
        holder = str(self.claims.kept().get("holder", ""))
        words: dict[str, Any] = {"renew_s": renew_s, "cap_s": cap_s, "elapsed_s": elapsed_s, "confirm_s": confirm_s, "escalate": escalate}
        armed = self.guarded.ask("arm", program=program, run=plain_name(run), holder=holder, **words)
        stage, edge = str(program.get("stage", "")), str(program.get("edge", "start"))
        if stage and self.execution is not None and self.execution.has_reached(stage, edge):  # while it was being armed, or before
            self.guarded.ask("start", name=program["name"])
        return armed

    def do_start_program(self, client: Client, name: str) -> dict[str, Any]:
        """Its time begins now. Raises ValueError when a step that is due at once fails. When each was done is in the guard's journal."""
        return self.guarded.ask("start", name=name)

    def do_revert(self, client: Client, name: str = "") -> dict[str, Any]:
        """One program is taken back, or all are ("")."""
        from .programs import ASKED

        return self.guarded.ask_if_armed("revert", name=name, why=ASKED) or {"reverted": [], "left": []}

    def do_programs(self, client: Client) -> dict[str, Any]:
        """What is armed here, and how far it has come."""
        return self.guarded.ask_if_armed("programs") or {"programs": [], "guard": {"pid": 0, "alive": self.guarded.alive()}}

    def do_release(self, client: Client) -> dict[str, Any]:
        """The device is nobody's from here on, durably; nothing of its holder's is in effect any more, or the guard still tries."""
        from .programs import SUPERVISOR

        try:
            self.guarded.ask_if_armed("revert", name="", why=SUPERVISOR)
        except GuardGone as error:
            say(f"at the release: {error}")
        if self.execution is None or self.execution.over:
            from .scarcity import clear_all

            clear_all(self._state)
        self.claims.release(client.claim)
        return {}

    def do_missing(self, client: Client, hashes: list[str]) -> dict[str, Any]:
        return {"missing": self.store.missing(hashes)}

    def do_keep(self, client: Client, sha256: str) -> dict[str, Any]:
        self.store.keep(sha256)
        return {}

    def do_unpack(self, client: Client, tree: str, blobs: list[str], compile: bool) -> dict[str, Any]:
        return {"path": self.store.unpack(tree, blobs, compile)}

    def do_begin(self, client: Client, spec: dict[str, Any]) -> dict[str, Any]:
        """Starts an execution; its `began` record is durable when this answers."""
        if self.execution is not None and not self.execution.ended:
            raise ValueError("an execution is still under way here; abandon it first")
        if self.execution is not None:
            self.execution.journal.close()
        folder = os.path.join(self._runs, plain_name(spec["run"]), plain_name(spec["execution"]))
        scarce_of(folder, spec).prepare()
        self.execution, self.refused = Execution.create(folder, spec, self.store, self.publish), None
        client.follow(self.execution, 1)
        self._attend(self.execution)
        self.execution.start(restore=False)
        return {}

    def do_follow(self, client: Client, run: str, execution: str, from_sequence: int, chain: str) -> dict[str, Any]:
        """Streams flushed records from `from_sequence` on, if this journal's chain before it is `chain`.

        `current` says whether the execution is the one that this supervisor has at hand; another one's journal is
        read as it lies on the disk, to its last whole record.
        """
        name = f"{plain_name(run)}/{plain_name(execution)}"
        if self.refused and self.refused["execution"] == name:
            return {"agrees": False, "written": 0, "chain": GENESIS, "current": True, "refused": self.refused["reason"]}
        current = self.execution is not None and self.execution.name == name
        followed = self.execution if current else Kept.open(os.path.join(self._runs, name, "journal"))
        if followed is None:
            return {"agrees": from_sequence == 1, "written": 0, "chain": GENESIS, "current": False, "ended": False}
        journal = followed.journal
        agrees = from_sequence <= journal.flushed_sequence + 1 and journal.chains[from_sequence - 1] == chain
        if agrees:
            client.follow(followed, from_sequence)
        return {"agrees": agrees, "written": journal.written_sequence, "current": current, **followed.state()}

    def do_mirrored(self, client: Client, sequence: int) -> dict[str, Any]:
        if self.execution is not None:
            self.execution.promises.mirrored(sequence)
        return {}

    def do_proceed(self, client: Client) -> dict[str, Any]:
        if self.execution is not None:
            self.execution.holds.proceed()
        return {}

    def do_under_faults(self, client: Client) -> dict[str, Any]:
        if self.execution is not None:
            self.execution.holds.under_faults()
        return {}

    def do_abandon(self, client: Client, reason: str) -> dict[str, Any]:
        if self.execution is not None and not self.execution.ended:
            self.execution.abandon(reason)
        return {}

    def do_forget(self, client: Client, run: str) -> dict[str, Any]:
        """Removes a run's folder, durably: a removal that a power cut takes back is never made again. The coordinator asks only for what
        it has mirrored whole. Not while a program of it is armed."""
        if plain_name(run) in self.guarded.runs():
            raise ValueError(f"programs of {run} are armed here: {', '.join(self.guarded.armed())}; revert them first")
        if self.execution is not None and self.execution.name.startswith(plain_name(run) + "/"):
            self.execution = None
        shutil.rmtree(os.path.join(self._runs, plain_name(run)), ignore_errors=True)
        fsync_folder(self._runs)
        return {}

    def do_log(self, client: Client, run: str, execution: str) -> dict[str, Any]:
        """The end of what the pipeline's processes printed, as text."""
        try:
            with open(os.path.join(self._runs, plain_name(run), plain_name(execution), "host.log"), "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LOG_LIMIT_BYTES))
                return {"text": file.read(LOG_LIMIT_BYTES).decode("utf-8", "replace"), "bytes": size}
        except FileNotFoundError:
            return {"text": "", "bytes": 0}

    def do_locate(self, client: Client, what: str) -> dict[str, Any]:
        """Where a file of the current execution lies: its "journal", or a file of its pipeline by name. For whoever damages it."""
        if self.execution is None:
            raise ValueError("no execution is under way here")
        return locate(self.execution.path_of(what))

    def do_benchmark(self, client: Client) -> dict[str, Any]:
        return facts.benchmark()

    def do_work(self, client: Client, confined: bool = False) -> dict[str, Any]:
        """How long a fixed piece of work takes, in a process of its own, by the clock and in processor time; among pipelines if so told."""
        from .work import measure

        with self._one_work:  # who asks again while an answer is still to come would be timed beside it, and lose its group
            return measure(self._state if confined else "")

    def do_burn(self, client: Client, for_s: float, confined: bool = False) -> dict[str, Any]:
        """Every core works for so long from now on, with the lowest priority, among pipelines if so told; 0 ends it."""
        from .work import Burning

        self._burning = self._burning or Burning()
        return {"cores": self._burning.burn(float(for_s), self._state if confined else "")}

    def do_heat(self, client: Client, warm: bool = False) -> dict[str, Any]:
        """What the heat that this device makes for itself says; with `warm` the time of one that waits begins."""
        from . import own_heat

        if warm:
            own_heat.warm(self._state)
        return own_heat.said(self._state)

    def do_frequency(self, client: Client, firmware: dict[str, Any] | None = None) -> dict[str, Any]:
        """What this board's own clocks may be and could be, and where that is limited: its firmware's too, where it is told of one."""
        from . import frequency

        return {"folder": frequency.FOLDER, "before": frequency.read(firmware=firmware)}

    def do_sensed(self, client: Client, paths: dict[str, Any]) -> dict[str, Any]:
        """What sensors say, as any program here would read it."""
        from .work import sensed

        return sensed(paths)

    def do_probe_start(self, client: Client, far_end: str, port: int, who: str, interval_s: float, size: int) -> dict[str, Any]:
        """Light packets go to the far end from here on, until they are told to stop; a restart of this supervisor stops them, too."""
        self._link_probe().start(far_end, port, who, interval_s, size)
        return {}

    def do_probe_stop(self, client: Client) -> dict[str, Any]:
        return dict(self._link_probe().stop())

    def do_probe_train(
        self, client: Client, far_end: str, port: int, who: str, duration_s: float, rate_kbit_s: float, size: int, echo: bool = False
    ) -> dict[str, Any]:
        return dict(self._link_probe().train(far_end, port, who, duration_s, rate_kbit_s, size, echo))

    def do_probe_catch(self, client: Client, duration_s: float) -> dict[str, Any]:
        return dict(self._link_probe().catch(duration_s))

    def _link_probe(self) -> Any:
        from .link_probe import LinkProbe

        with self._making_probe:
            self._probe = self._probe or LinkProbe()
        return self._probe

    def do_fingerprint(self, client: Client) -> dict[str, Any]:
        """What a fault could leave behind here, to be compared with the same at another moment."""
        from .fingerprint import fingerprint

        return {"fields": fingerprint()}

    def do_scarcity(self, client: Client) -> dict[str, Any]:
        """Which limits are in force here, how the small disk stands, and what the clocks say."""
        from .scarcity import state_now

        return state_now(self._state)

    def do_prepare_scarcity(self, client: Client, run: str, execution: str, scarcity: dict[str, Any]) -> dict[str, Any]:
        """What an execution will have too little of is there, and there is enough of it yet."""
        folder = os.path.join(self._runs, plain_name(run), plain_name(execution))
        scarce_of(folder, {"scarcity": scarcity}).prepare()
        return {}

    def do_clear_scarcity(self, client: Client) -> dict[str, Any]:
        """Removes what no program of the guard's holds any more, once nothing is under way; how things stand then."""
        from .scarcity import clear_all, state_now

        deadline = time.monotonic() + 10
        while self.execution is not None and self.execution.ended and not self.execution.over and time.monotonic() < deadline:
            time.sleep(0.05)
        under_way = self.execution is not None and not self.execution.over
        return state_now(self._state) if under_way else clear_all(self._state)

    def do_clear_strays(self, client: Client) -> dict[str, Any]:
        """Groups that others left on this machine, and of whom no process is left, are removed; what is in use, and what stays, is said."""
        from .strays import clear_strays

        def idle() -> bool:
            return (self.execution is None or self.execution.over) and not self.guarded.needed()

        return {**clear_strays(self._state, idle=idle)}

    def do_prove_scarcity(self, client: Client, limits: dict[str, Any]) -> dict[str, Any]:
        """What limits do here, tried out beside the pipeline."""
        from .scarcity import prove

        return prove(self._state, limits)

    def do_canary(self, client: Client, step: str) -> dict[str, Any]:
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "prepare": self._canary.prepare,
            "flush_once": self._canary.flush_once,
            "write": self._canary.write,
            "read": self._canary.read,
        }
        return steps[step]()


class Client:
    """One attached coordinator."""

    def __init__(self, connection: socket.socket, supervisor: Supervisor) -> None:
        self._connection, self._supervisor = connection, supervisor
        self._sending = threading.Lock()
        self._open = True
        self.claim: dict[str, Any] | None = None

    def send(self, data: bytes) -> None:
        """Sends whole frames; a coordinator that is gone is dropped, one that is stuck after 30 s."""
        try:
            with self._sending:
                self._connection.sendall(data)
        except OSError:
            self.close()

    def close(self) -> None:
        self._open = False
        self._supervisor.gone(self)
        try:  # noqa: SIM105 - contextlib costs a slow board 50 ms of every restart
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def listen(self) -> None:
        decoder = frames.Decoder()
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 30, 0))
        try:
            while self._open:
                data = self._connection.recv(262144)
                if not data:
                    break
                for frame in decoder.feed(data):
                    if frame.type == frames.BLOB:
                        self._supervisor.claims.check(self.claim)
                        self._supervisor.store.piece(frame.payload[:32].hex(), frame.payload[32:])
                    elif frame.type == frames.JSON:
                        request = frame.json()
                        if request.get("do") in SLOW:
                            threading.Thread(target=self._answer, args=(request,), daemon=True).start()
                        else:
                            self._answer(request)
        except (OSError, ValueError, NotYours) as error:
            say(f"a client is dropped: {error}")
        finally:
            self.close()
            self._connection.close()

    def _answer(self, request: dict[str, Any]) -> None:
        number, verb = request.pop("id", None), str(request.pop("do", ""))
        method = getattr(self._supervisor, f"do_{verb}", None)
        try:
            if method is None:
                raise ValueError(f"unknown request {verb!r}")
            if verb != "hello":
                self._supervisor.claims.check(self.claim)
                self._supervisor.claims.renew()
            self.send(frames.encode_json({"id": number, "ok": method(self, **request)}))
        except NotYours as error:
            self.send(frames.encode_json({"id": number, "error": f"the device is not yours: {error}", "not_yours": True}))
        except Exception as error:
            say_what_was_raised()
            self.send(frames.encode_json({"id": number, "error": f"{type(error).__name__}: {error}"}))

    def follow(self, execution: Execution | Kept, from_sequence: int) -> None:
        threading.Thread(target=self._stream, args=(execution, from_sequence), daemon=True).start()

    def _stream(self, execution: Execution | Kept, sequence: int) -> None:
        while self._open and not (execution.over and execution.journal.flushed_sequence < sequence):
            with execution.changed:
                if execution.journal.flushed_sequence < sequence:
                    execution.changed.wait(1.0)
            for record in execution.journal.records[sequence - 1 : execution.journal.flushed_sequence]:
                self.send(frames.encode(frames.RECORD, record.raw))
                sequence += 1


def plain_name(name: str) -> str:
    """A name that is safe as one path component. Raises ValueError otherwise."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise ValueError(f"expected a plain name of letters, digits, '-', '_' and '.', found {name!r}")
    return name


def own_sha256() -> str:
    """The hash of the zip that this supervisor was installed from: its folder's name. "" when it was not installed."""
    folder = os.path.dirname(os.path.abspath(sys.argv[0]))
    return os.path.basename(folder) if os.path.exists(os.path.join(folder, WHOLE)) else ""


def install(state: str, archive: str) -> int:
    """Unpacks and compiles the zip at `archive` and prints the script to run from then on. Durable, done once.

    Running from compiled files, a slow board restores its state a third of a second sooner than from the zip.
    """
    with open(archive, "rb") as file:
        data = file.read()
    sha256 = hashlib.sha256(data).hexdigest()
    os.makedirs(state, mode=0o700, exist_ok=True)
    store = Store(state)
    if store.missing([sha256]):
        store.piece(sha256, data)
        store.keep(sha256)
    os.unlink(archive)
    print(os.path.join(store.unpack(sha256, [sha256], compile=True), "__main__.py"))
    return 0


def main(arguments: list[str]) -> int:
    command, *rest = arguments or [""]
    if command == "install" and len(rest) == 2:
        return install(*rest)
    if command == "start" and len(rest) in (2, 3):
        from . import starting

        return starting.start(*rest)
    if command == "host" and len(rest) == 1:
        from . import host

        return host.main(int(rest[0]))
    if command == "guard" and len(rest) == 3:
        from . import guard

        return guard.main(*rest)
    if command == "revert" and len(rest) in (2, 3):
        from . import guarded

        return guarded.by_hand(*rest)
    print("usage: install STATE ARCHIVE | start STATE SOCKET [CLAIM] | attach SOCKET | revert STATE SOCKET [NAME]", file=sys.stderr)
    return 64
