"""One pipeline execution and its journal: begins, is killed anywhere, restores, ends.

    began ─► stage_started ─► stage_finished ─► … ─► finished | failed
               │                    │
               ▼ (killed)           ▼ (killed)
            restored ─► resumed ─► …                  refused: the journal is not this pipeline's

`began`, `stage_finished`, `restored` and the last record are promises: flushed before anybody acts on
them. `stage_started` and `sample` are not. A finished stage is replayed after a restart, not run again,
provided that every file it named still has the hash that was journaled.

How its threads write the journal is in promises.py, where it stops for the coordinator in holds.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from typing import Any, Callable

from .channel import Channel
from .facts import waited_s
from .holds import Holds
from .journal import Journal, boot_id, boottime_ns, fsync_folder
from .kept import point_to, refuse
from .promises import Over, Promises, Publish
from .results import damage, finished_stages, state_hash
from .sampler import ZONE, Sampler, sample, sensors
from .scarcity import NOT_ENTERED, Scarce, sectors_written
from .store import Store

FRUITLESS_LIVES = 8
IMPORTED_NS = boottime_ns()  # the interpreter is up and this file is loaded: where a restart's time goes


class Execution:
    """One execution in `folder` (journal, working folder, host log). `publish` sends events to whoever is attached."""

    def __init__(self, folder: str, journal: Journal, store: Store, publish: Publish, life_began_ns: int) -> None:
        self.journal, self.promises = journal, Promises(journal, publish)
        self.on_stage: Callable[[str, str], None] = lambda stage, edge: None  # a stage starts, or its end is flushed: "start", "end"
        self.beside_samples: Callable[[], dict[str, Any]] = dict  # what else the supervisor knows once a second, by its name in the record
        self._folder, self._store, self._publish, self._life_began_ns = folder, store, publish, life_began_ns
        self._spec: dict[str, Any] = journal.records[0].payload
        self.holds = Holds(self._spec["holds"], self.promises, lambda: sample(folder), publish)
        self._hosts: list[subprocess.Popen[bytes]] = []  # one process per pipeline
        self._done = 0  # pipelines that came to their end
        self._together = threading.Barrier(len(lanes(self._spec)))  # pipelines that run at once begin at once
        self._sampler = Sampler(folder, self._write_sample, self.promises.flush, lambda: self.beside_samples())
        self.scarce = scarce_of(folder, self._spec)
        self._sectors: dict[str, int | None] = {}  # by stage: what the disk had been given when it began
        self._waited_before_hosts_s = 0.0  # for a processor, since a restart
        self.over = False  # its thread is done, whether the journal could say how or not
        self.broken = ""  # why this supervisor cannot go on, where the device is to blame and not the pipeline: the journal has no end then
        self._opened_ns = boottime_ns()
        self._found = len(journal.records)  # before this life writes anything

    @classmethod
    def create(cls, folder: str, spec: dict[str, Any], store: Store, publish: Publish) -> Execution:
        """A new execution whose first record, `began` with the whole spec, is durable when this returns."""
        if not os.path.exists(os.path.join(folder, "journal")):  # what a killed one had made before it had a journal
            shutil.rmtree(os.path.join(folder, "work"), ignore_errors=True)
        for lane in lanes(spec):
            os.makedirs(os.path.join(folder, "work", lane), mode=0o700)
        runs = os.path.dirname(os.path.dirname(folder))
        point_to(runs, os.path.relpath(folder, runs))
        for parent in (runs, os.path.dirname(folder)):
            fsync_folder(parent)
        journal = Journal.create(os.path.join(folder, "journal"), "began", spec)
        return cls(folder, journal, store, publish, boottime_ns())

    @classmethod
    def reopen(cls, folder: str, store: Store, publish: Publish, life_began_ns: int) -> Execution | None:
        """The execution that a restart interrupted, or None if the journal does not even hold `began`.

        Raises JournalRefused for a journal that must not go on: another execution's, or damaged before its end. It is left as found.
        """
        name = os.path.join(os.path.basename(os.path.dirname(folder)), os.path.basename(folder))
        journal = Journal.open(os.path.join(folder, "journal"), lambda data, records: refuse(data, records, name))
        return cls(folder, journal, store, publish, life_began_ns) if journal.records else None

    @property
    def name(self) -> str:
        """Run and execution: the name of its folder, too."""
        return f"{self._spec['run']}/{self._spec['execution']}"

    @property
    def ended(self) -> bool:
        return self.promises.ended

    @property
    def changed(self) -> threading.Condition:
        """Notified when more of the journal is flushed."""
        return self.promises.changed

    def state(self) -> dict[str, Any]:
        """What a coordinator that attaches needs to know at once."""
        return {
            "run": self._spec["run"],
            "execution": self._spec["execution"],
            "written": self.journal.written_sequence,
            "flushed": self.journal.flushed_sequence,
            "held": self.holds.standing,
            "ended": self.ended,
            "broken": self.broken,
        }

    def has_reached(self, stage: str, edge: str) -> bool:
        """Whether a stage has begun (`edge` "start") or come to its end here, in whichever pipeline; not once all of it has ended."""
        kind = "stage_started" if edge == "start" else "stage_finished"
        found = (record.payload["stage"] for record in list(self.journal.records) if record.kind == kind)
        return not self.ended and any(stage in (name, name.partition("@")[0]) for name in found)

    def path_of(self, what: str) -> str:
        """The journal's path, or that of a file of the pipeline. Raises ValueError for any other file."""
        pipeline = self._spec["pipeline"]
        if what == "journal":
            return self.journal.path
        if what not in pipeline["files"]:
            raise ValueError(f"{what!r} is neither the journal nor a file of the pipeline")
        return os.path.join(self._store.tree(pipeline["tree"]), what)

    def start(self, *, restore: bool) -> None:
        self.over = False
        threading.Thread(target=self._live, args=(restore,), daemon=True, name="execution").start()

    def abandon(self, reason: str) -> None:
        """Ends the execution for good; its folder stays. `abandoned` is durable when this returns."""
        self.promises.abandoned = True
        self.holds.proceed()
        self._together.abort()
        self._kill_hosts()
        self._end("abandoned", {"reason": reason})

    # ---- the life of an execution, in order -------------------------------------------------------------

    def _live(self, restore: bool) -> None:
        try:
            self._sampler.start()
            if restore and (self._pipeline_differs() or self._restarts_for_nothing()):
                return
            if restore:
                self.scarce.prepare()
            witness = os.open(self._spec["witness"], os.O_WRONLY | os.O_APPEND)  # once: a serial port has one opener
            self._waited_before_hosts_s = (waited_s() or 0.0) if restore else 0.0
            ends = [(lane, self._spawn_host(lane, witness)) for lane in lanes(self._spec)]  # they import while we verify
            os.close(witness)
            if restore:
                replay = self._restore()
            else:
                replay = {}
                self.holds.stand_at_a_new_journal()
            others = [threading.Thread(target=self._attend, args=(end, lane, replay), daemon=True) for lane, end in ends[1:]]
            for thread in others:
                thread.start()
            lane, ours = ends[0]
            self._attend(ours, lane, replay)
            for thread in others:
                thread.join()
        except Over:
            pass  # a coordinator ended it meanwhile
        except Exception as error:
            self._say_what_broke(error, lanes(self._spec)[0])
        finally:
            self._sampler.stop()
            self._kill_hosts()
            self.scarce.clear()
            self.over = True

    def _attend(self, ours: socket.socket, lane: str, replay: dict[str, Any]) -> None:
        """One pipeline's conversation to its end; what breaks in it ends the execution, and so the other pipelines."""
        try:
            self._converse(ours, lane, replay)
        except (threading.BrokenBarrierError, Over):
            pass  # another pipeline, or a coordinator, ended the execution meanwhile
        except Exception as error:
            self._say_what_broke(error, lane)
        if self.ended or self.broken:
            self._together.abort()
            self._kill_hosts()

    def _kill_hosts(self) -> None:
        for host in list(self._hosts):
            host.kill()
            host.wait()

    def _say_what_broke(self, error: Exception, lane: str) -> None:
        """A pipeline process that is gone, or a mistake of ours, is the execution's end.

        A device that cannot (no memory, no processes, a disk that is full or fails) is not: the journal has no end then, coordinators hear
        why, and the next supervisor goes on.
        """
        host = lanes(self._spec).index(lane)
        if isinstance(error, EOFError) and self.scarce.group is not None and self._hosts[host].wait() == NOT_ENTERED:
            error = OSError("the kernel did not let the pipeline's process into its control group")
        said = f"{type(error).__name__}: {error}"
        if not isinstance(error, (OSError, MemoryError)):
            what = f"supervisor: {said}"
            if isinstance(error, EOFError):
                what = f"the pipeline process ended early: {self._host_status(lane)}{self.scarce.killed_for_memory()}"
            try:
                self._end("failed", {"error": what})
                return
            except OSError as unwritable:
                said = f"{type(unwritable).__name__}: {unwritable}"
        if not (self.ended or self.promises.abandoned):
            self.broken = said
            self._publish({"event": "broken", "error": said})

    def _spawn_host(self, lane: str, witness: int) -> socket.socket:
        spec = self._spec
        ours, theirs = socket.socketpair()
        with open(os.path.join(self._folder, "host.log"), "ab") as log:
            host = subprocess.Popen(
                self.scarce.command([sys.executable, os.path.abspath(sys.argv[0]), "host", str(theirs.fileno())]),
                pass_fds=[theirs.fileno(), witness],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        theirs.close()
        self._hosts.append(host)
        if self.promises.abandoned:  # abandoned before there was a host to kill
            host.kill()
        task = {
            "run": f"{spec['run']}/{spec['execution']}",
            "paths": [self._store.tree(spec["pipeline"]["tree"]), self._store.tree(spec["environment"]["tree"])],
            "work": os.path.join(self._folder, "work", lane),
            "lane": lane,
            "module": spec["pipeline"]["module"],
            "witness": witness,
            "stage_timeout_s": spec["stage_timeout_s"],
            "settings": {**spec.get("settings", {}), **self.scarce.settings()},
        }
        try:  # noqa: SIM105 - contextlib costs a slow board 50 ms of every restart
            Channel(ours).tell(task)
        except EOFError:
            pass  # gone already: whoever listens to it hears that, too
        return ours

    def _waited_in_all(self, ready: dict[str, Any]) -> dict[str, float]:
        """What a pipeline's process waited for a processor, and before it this one: one after the other."""
        before_s, its_s = self._waited_before_hosts_s, ready.get("waited_s")
        return {"waited_s": round(before_s + its_s, 3)} if before_s and isinstance(its_s, (int, float)) else {}

    def _pipeline_differs(self) -> bool:
        """Whether the pipeline is another one than the journal began with: then none of it is run, and the journal ends."""
        wrong = damage(self._store.tree(self._spec["pipeline"]["tree"]), self._spec["pipeline"])
        if wrong:
            self._end("refused", {"reason": f"pipeline differs from the one that this journal began with: {wrong}"})
        return bool(wrong)

    def _restarts_for_nothing(self) -> bool:
        """Whether it was restored again and again and got nowhere: then it ends its supervisor each time, and is not gone on with."""
        progress = ("holding", "stage_finished", "stage_raised")
        since = max((number for number, record in enumerate(self.journal.records) if record.kind in progress), default=0)
        lives = sum(record.kind == "restored" for record in self.journal.records[since:])
        if lives >= FRUITLESS_LIVES:
            self._end("failed", {"error": f"restarted {lives} times without getting anywhere: it ends its supervisor each time"})
        return lives >= FRUITLESS_LIVES

    def _restore(self) -> dict[str, Any]:
        """Verifies what the journal promises; returns what to replay."""
        finished = finished_stages(self.journal.records)
        work = os.path.join(self._folder, "work")
        rejected = {name: why for name, why in ((n, damage(work, r)) for n, r in finished.items()) if why}
        replay = {name: result for name, result in finished.items() if name not in rejected}
        if self._spec["durability"] == "native":
            replay = {}
        verified_ns = boottime_ns()
        hold = self.holds.arm("", "during_resume")
        with self.promises.lock:
            record = self.promises.put(
                "restored",
                {
                    "through_sequence": self.journal.written_sequence,
                    "chain": self.journal.chains[-1],
                    "records_found": self._found,
                    "tail_cut_bytes": self.journal.tail_cut_bytes,
                    "state_sha256": state_hash(replay),
                    "replay": sorted(replay),
                    "rejected": rejected,
                    "next": [name for name in self._spec["stages"] if name not in replay][:1],
                    "supervisor_started_ns": self._life_began_ns,
                    "imported_ns": IMPORTED_NS,
                    "journal_read_ns": self._opened_ns,
                    "verified_ns": verified_ns,
                },
            )
            if hold:
                self.holds.stand(hold, record)
            self.promises.flush()
        self.promises.make("resumed", {"restored_flushed_ns": boottime_ns(), "waited_s": waited_s()})
        return replay

    def _converse(self, ours: socket.socket, lane: str, replay: dict[str, Any]) -> None:
        """Answers one host until it is done. Every answer to an `end` is sent after the flush."""
        channel = Channel(ours)
        planned = [stage for stage in self._spec["stages"] if lane_of(stage) == lane]
        replay = {stage: result for stage, result in replay.items() if lane_of(stage) == lane}
        lives = sum(record.kind == "restored" for record in self.journal.records)
        attempt = {"run": self._spec["run"], "execution": self._spec["execution"], "life": lives, "boot": boot_id()}
        while True:
            message = channel.hear()
            said = message.pop("say")
            after_ack = None
            answer: dict[str, Any] = {"ack": True}
            if said == "ready":
                stood = {"stood_s": self.holds.await_faults()} if lives and self._spec.get("under_faults") else {}
                self.promises.write("host_ready", {**message, **stood, **self._waited_in_all(message)})
                if sorted(message["stages"]) != sorted(planned):
                    wrong = f"the pipeline's stages are {', '.join(message['stages'])}; planned: {', '.join(planned)}"
                    self._end("failed", {"error": wrong})
                    return
                self._together.wait()
                channel.tell({"attempt": attempt, "replays": len(replay)})
                for stage, result in replay.items():  # one frame each: together they may be larger than a frame
                    channel.tell({"stage": stage, "result": result})
                continue
            elif said == "start":
                hold = self.holds.arm(message["stage"], "started")
                record = self.promises.write("stage_started", {**message, "life": lives})
                if hold:
                    self.holds.stand(hold, record)
                self.on_stage(message["stage"], "start")
                self._sectors[message["stage"]] = sectors_written(self._folder)
            elif said == "end" and message["status"] != "raised":
                after_ack = self._finish_stage(message)
            elif said == "end":
                self.promises.make("stage_raised", message)
            elif said == "done" and self._last_one():
                results = finished_stages(self.journal.records)
                self._end("finished", {"state_sha256": state_hash(results), "stages": sorted(results)})
            elif said == "failed":
                self._end("failed", {"error": message["error"]})
                return
            channel.tell(answer)
            if after_ack is not None:
                hold, record = after_ack
                self.holds.await_mirror(record)
                self.holds.stand(hold, record)
            if said == "done":
                return

    def _finish_stage(self, message: dict[str, Any]) -> Any | None:
        stage = message["stage"]
        before, now = self._sectors.get(stage), sectors_written(self._folder)
        if before is not None and now is not None:
            message["sectors_written"] = now - before
        hold = self.holds.arm(stage, "before_flush", "after_flush", "after_ack")
        point = hold["point"] if hold else ""
        with self.promises.lock:  # no sample may slip in between and flush what is held unflushed
            try:
                record = self.promises.put("stage_finished", message)
            except ValueError as error:
                raise ValueError(f"the output of stage {stage} cannot be journaled: {error}") from error
            if hold and point == "before_flush":
                self.holds.stand(hold, record)
            self.journal.flush()
            if hold and point == "after_flush":
                self.holds.stand(hold, record)
        self.promises.announce()
        self.promises.tell_progress(stage)
        self.on_stage(stage, "end")
        return (hold, record) if point == "after_ack" else None

    def _last_one(self) -> bool:
        """Whether with this one every pipeline has come to its end."""
        with self.journal.lock:
            self._done += 1
            return self._done == len(self._hosts)

    def _host_status(self, lane: str) -> str:
        code = self._hosts[lanes(self._spec).index(lane)].wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}, see host.log"

    # ---- writing ----------------------------------------------------------------------------------------

    def _end(self, kind: str, payload: dict[str, Any]) -> None:
        self.promises.end(kind, payload, self.scarce.figures)

    def _write_sample(self, payload: dict[str, Any]) -> None:
        """What else is in it is read under the lock: a record's time is that of what it says, however long a flush or a hold takes."""
        with self.promises.lock:
            if self.ended:
                return
            self.promises.put("sample", {**payload, **self.scarce.figures(), **self._sensed(payload)})
        self.promises.tell_progress("")

    def _sensed(self, payload: dict[str, Any]) -> dict[str, Any]:
        """What the sensors say that heat has given its stages; its temperature apart from the machine's own, where that is another file."""
        settings = self._spec.get("settings", {})
        said = sensors(settings)
        if "milli_c" not in said or settings["SENSOR_TEMPERATURE"] == ZONE:
            return {"sensors": said} if said else {}
        return {"sensors": said, "metrics": {**payload["metrics"], "hw.temperature{hw.id=emulated}": said["milli_c"] / 1000}}


def scarce_of(folder: str, spec: dict[str, Any]) -> Scarce:
    """What the execution in `folder` has too little of; the state folder is that of its run's."""
    return Scarce(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(folder)))), folder, spec)


def lanes(spec: dict[str, Any]) -> list[str]:
    """The pipelines that run at once, by name; a single one has none."""
    return [str(number) for number in range(1, spec["lanes"] + 1)] if spec.get("lanes", 1) > 1 else [""]


def lane_of(stage: str) -> str:
    return stage.partition("@")[2]
