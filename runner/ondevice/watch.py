"""One armed program on the device: its two files, its steps, and its undo.

    <state>/guard/NAME.json        durable before anything is applied, removed only when no sign of the program is left
    <runtime>/programs/NAME.json   how far it has come, and when it was renewed last: gone with the boot, never on flash

The second is written before each step and behind it. A guard that was killed in between, or that finds no such file, does not
know what is in effect: it reverts. One that was killed at any other moment is replaced by one that goes on.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any, Callable

from . import failpoints, programs
from .acts import Acts
from .guarded import FOLDER, MARKS, read_json
from .journal import boottime_ns, fsync_file, fsync_folder
from .kernel_files import text
from .notes import Notes
from .programs import ARMED, BEGUN, FAILED, REVERTED, REVERTING, STANDING
from .say import say, say_what_was_raised

PAUSES_S = (0.2, 0.5, 1.0, 2.0)  # between the tries of one undo
AGAIN_S = 60.0  # an undo that failed is tried again, for as long as the device is on
RENEWED_EVERY_NS = 30_000_000_000  # how often a renewal is noted
NOTED_LIMIT_S = 2.0  # how long the removal of the file waits for the note of it
LOOK_S = 1.0


class Surroundings:
    """What every watch of one guard shares. `changed` guards all fields of all watches."""

    def __init__(self, state: str, runtime: str, boot: str, acts: Acts, notes: Notes, reboot: Callable[[], None]) -> None:
        self.state, self.runtime, self.boot, self.acts, self.notes, self.reboot = state, runtime, boot, acts, notes, reboot
        self.folder, self.marks = os.path.join(state, FOLDER), os.path.join(runtime, MARKS)
        self.changed = threading.Condition()
        self.watches: dict[str, Watch] = {}
        self.heard_ns = 0  # when a coordinator was last heard of

    def severed(self) -> bool:
        """Whether nobody can renew, because a program that cuts the only path is in effect."""
        return any(watch.severs and watch.began_ns is not None and watch.state != REVERTED for watch in self.watches.values())

    def last_heard_ns(self) -> int:
        """By a request to the guard, or to the supervisor, which keeps that in a file of its own (claim.py)."""
        try:
            with open(os.path.join(self.runtime, "seen")) as file:
                boot, seen = file.read().split()
            return max(self.heard_ns, int(seen) if boot == self.boot else 0)
        except (OSError, ValueError):
            return self.heard_ns


class Watch(threading.Thread):
    """`kept` is what the durable file holds: program, run, holder, boot, armed_ns, renew_s, cap_s, elapsed_s, confirm_s, escalate."""

    def __init__(self, around: Surroundings, kept: dict[str, Any]) -> None:
        super().__init__(daemon=True, name=f"program {kept['program']['name']}")
        self._around, self._kept, self._program = around, kept, kept["program"]
        self.program_name, self.run_token = str(self._program["name"]), str(kept["run"])
        self.severs = bool(self._program.get("severs_management", False))
        self.state, self.asked, self.renewed_ns = ARMED, "", int(kept["armed_ns"])
        self.began_ns: int | None = None
        self.left: list[str] = []
        self.failed: list[str] = []  # what was wrong with the step because of which it is reverted
        self.gone = False  # nothing of it is left to be done
        self._done, self._doing, self._sure = 0, False, True
        self._not_before_ns = self._noted_ns = self._until_ns = 0
        self._path = os.path.join(around.folder, f"{self.program_name}.json")
        self._mark = os.path.join(around.marks, f"{self.program_name}.json")

    # ---- files ------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """The undo and the deadlines are on the disk when this returns. They count from its beginning: nothing can be in effect before."""
        with self._around.changed:
            self._kept["armed_ns"] = self.renewed_ns = boottime_ns()
        os.makedirs(self._around.folder, mode=0o700, exist_ok=True)  # a disk that was full when the guard began
        with open(self._path + ".new", "w") as file:
            json.dump(self._kept, file)
            file.flush()
            fsync_file(file.fileno())
        os.rename(self._path + ".new", self._path)
        fsync_folder(self._around.folder)

    def drop(self) -> None:
        """Both files are gone, the durable one first. A disk that refuses keeps it: then it is reverted once more some day."""
        for path in (self._path, self._path + ".new", self._mark):
            self._remove(path)

    def _remove(self, path: str) -> None:
        try:
            os.unlink(path)
            fsync_folder(os.path.dirname(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            say(f"{path} cannot be removed: {error}")

    def mark(self) -> None:
        """How far it has come. What cannot be written is removed, so that nobody goes on by an older one."""
        said = {
            "boot": self._around.boot, "armed_ns": self._kept["armed_ns"], "began_ns": self.began_ns, "done": self._done,
            "doing": self._doing, "renewed_ns": self.renewed_ns, "asked": self.asked, "state": self.state, "until_ns": self._until_ns,
            "kept": self._kept if self.state == REVERTED else undo_of(self._kept),
        }  # fmt: skip
        try:
            os.makedirs(self._around.marks, mode=0o700, exist_ok=True)
            with open(self._mark + ".new", "w") as file:
                json.dump(said, file)
            os.rename(self._mark + ".new", self._mark)
        except OSError as error:
            say(f"{self._mark}: {error}")
            self._remove(self._mark)

    def remember(self) -> None:
        """Goes by the mark that a guard before this one has left, if it is whole and of this very program and boot."""
        try:
            said = read_json(self._mark)
            ours = (said["boot"], said["armed_ns"]) == (self._around.boot, self._kept["armed_ns"]) and said["doing"] is False
            ours = ours and (said["state"] == REVERTED or not self._kept.get("undo_only"))
            self._sure = ours and (said["state"] != REVERTED or said["kept"] == self._kept)
            if self._sure:
                self.began_ns, self._done = said["began_ns"], int(said["done"])
                self.renewed_ns, self.asked, self.state = int(said["renewed_ns"]), str(said["asked"]), str(said["state"])
                self._until_ns = int(said["until_ns"])
        except Exception:  # whatever is odd about it: nobody goes by it
            self._sure = False

    # ---- what others ask of it, under `changed` ---------------------------------------------------------

    def begin(self) -> Callable[[], bool]:
        """Its time begins now, unless it has begun. The answer says whether what was due by now is done, or will never be.

        Raises ValueError for one that is being reverted.
        """
        if self.state == ARMED:
            elapsed_s = self._kept["elapsed_s"]
            self.began_ns = boottime_ns() - int(elapsed_s * 1e9)
            self.state, self._done = BEGUN, programs.passed_over(self._program, elapsed_s)
            self.mark()
            self._around.changed.notify_all()
        elif self.state != BEGUN:
            raise ValueError(f"program {self.program_name} cannot begin: {self.asked}")
        assert self.began_ns is not None
        due = programs.due_by(self._program, (boottime_ns() - self.began_ns) / 1e9)
        return lambda: self._done >= due or bool(self.asked)

    def trouble(self) -> str:
        """Why what has begun is not in effect, though it should be; "" where all is well, or it has come to its own end."""
        if self.asked in ("", programs.ITS_END):
            return ""
        return ": ".join([f"program {self.program_name} is taken back", self.asked, *self.failed])

    def renew(self) -> bool:
        if self.state not in STANDING:
            return False
        self.renewed_ns = boottime_ns()
        self.mark()
        if self.renewed_ns - self._noted_ns >= RENEWED_EVERY_NS:
            self._noted_ns = self.renewed_ns
            self._note("renewed")
        return True

    def ask_to_revert(self, why: str) -> None:
        self.asked, self._not_before_ns = self.asked or why, 0
        self._around.changed.notify_all()

    def said(self) -> dict[str, Any]:
        """What it is, for people and for the coordinator."""
        steps = self._program["steps"][: self._done]
        effect = bool(steps) and steps[-1]["on"] and self.state in (BEGUN, REVERTING)
        return {
            "name": self.program_name, "fault": self._program["fault"], "state": self.state, "word": steps[-1]["word"] if steps else "",
            "on": effect or self._doing or self.state == FAILED, "holder": self._kept["holder"], "why": self.asked, "run": self.run_token,
        }  # fmt: skip

    def begins_with(self, stage: str, edge: str) -> bool:
        """A stage of several pipelines that run at once is called NAME@LANE; the first of them to come counts."""
        wanted = self._program.get("stage", "")
        return bool(wanted) and wanted in (stage, stage.partition("@")[0]) and self._program.get("edge", "start") == edge

    def takes(self) -> set[str]:
        return set(self._program["resources"])

    def too_hot(self) -> str:
        """Why the device is too hot for this, by its own sensor at this moment, or ""; asked of programs alone that want to know it."""
        hot = self._program.get("hot")
        return programs.too_hot(hot, text(hot["sensor"])) if hot else ""

    def standing(self) -> programs.Standing:
        return programs.Standing(
            self._kept["boot"], self._kept["armed_ns"], self.renewed_ns, self._kept["renew_s"], self._kept["cap_s"],
            tuple(step["at_s"] for step in self._program["steps"]), self._program.get("lasts_s"), self.severs, self.began_ns,
            self._done, self.asked, self._sure, self._not_before_ns,
        )  # fmt: skip

    # ---- its life ---------------------------------------------------------------------------------------

    def run(self) -> None:
        while not self.gone:
            try:
                self._turn()
            except Exception:  # whatever it was: the undo is still to be done
                say_what_was_raised()
                self.asked = self.asked or programs.STEP_FAILED
                time.sleep(LOOK_S)

    def _next(self) -> programs.Next:
        return programs.decide(self.standing(), boottime_ns(), self._around.boot, self._around.severed())

    def _turn(self) -> None:
        if self.state == REVERTED:
            self._await_somebody()
            return
        hot = self.too_hot() if self.state in STANDING else ""
        with self._around.changed:
            if hot:
                self.asked = self.asked or hot
            next = self._next()
            if next.do == "wait":
                self._around.changed.wait(min(LOOK_S, max(0.0, (next.at_ns - boottime_ns()) / 1e9)))
                return
        if next.do == "step":
            self._step()
        else:
            self.revert(next.why)

    def _step(self) -> None:
        step, began_ns = self._program["steps"][self._done], boottime_ns()
        self._doing = True
        self.mark()
        failpoints.reached("guard.applying")
        failed: list[str] = []
        for act in step["acts"]:
            failed = self._around.acts.all([act])
            if failed:
                break
        with self._around.changed:
            self._done, self._doing = self._done + 1, False
            if failed:
                self.asked, self.failed = self.asked or programs.STEP_FAILED, failed
            self.mark()
            self._around.changed.notify_all()
        took_s = round((boottime_ns() - began_ns) / 1e9, 3)
        said = {"number": self._done, "at_s": step["at_s"], "word": step["word"], "on": step["on"], "took_s": took_s, "failed": failed}
        late = {"replayed": True} if step["at_s"] < self._kept["elapsed_s"] else {}  # before the restart it was on time
        self._note("step", **said, **late)
        failpoints.reached("guard.applied")

    def revert(self, why: str, by_hand: bool = False) -> None:
        """Undoes the program, and looks whether anything of it is left; several times, if need be.

        Afterwards it is gone from the device and from its disk, or `left` says what is seen, and it is tried again later.
        """
        with self._around.changed:
            self.asked, self.state = why, REVERTING
            self.mark()
        began_ns, number = boottime_ns(), 0
        self._note("reverting", why=why)
        failpoints.reached("guard.reverting")
        for number in range(1, len(PAUSES_S) + 2):
            left = self._undo()
            if not left:
                break
            if number <= len(PAUSES_S):
                time.sleep(PAUSES_S[number - 1])
        if left:
            self._could_not(left, number, by_hand)
            return
        took_s = round((boottime_ns() - began_ns) / 1e9, 3)
        self._note("reverted", flush=True, why=why, took_s=took_s, tries=number).wait(NOTED_LIMIT_S)
        self._confirm_or_go(why, by_hand)

    def _undo(self) -> list[str]:
        """One try: each undo, whatever became of the others; then what is still seen."""
        self._around.acts.all(self._program["undo"])
        return [seen for seen in map(self._around.acts.seen, self._program["signs"]) if seen]

    def _could_not(self, left: list[str], tries: int, by_hand: bool) -> None:
        note = self._note("revert_failed", flush=True, left=left, tries=tries)
        if self._kept["escalate"] and not by_hand and self.asked != programs.ANOTHER_BOOT:  # a boot has not helped already
            note.wait(NOTED_LIMIT_S)
            self._reboot("its undo did not work")
        with self._around.changed:
            self.state, self.left = FAILED, left
            self._not_before_ns = boottime_ns() + int(AGAIN_S * 1e9)
            self.mark()
            self._around.changed.notify_all()

    def _confirm_or_go(self, why: str, by_hand: bool) -> None:
        """One that cut the only path, and that nobody asked to revert, is over only when somebody is heard of again."""
        if self.severs:
            with self._around.changed:
                for other in self._around.watches.values():
                    other.allow_for_silence()
        if self.severs and self.began_ns is not None and not by_hand and why not in (programs.ASKED, programs.ANOTHER_BOOT):
            with self._around.changed:
                self.state, self.left = REVERTED, []
                self._until_ns = boottime_ns() + int(self._kept["confirm_s"] * 1e9)
                self.mark()
            self._remove(self._path)
            with self._around.changed:
                self._around.changed.notify_all()
        else:
            self.go()
        failpoints.reached("guard.reverted")

    def allow_for_silence(self) -> None:
        """Nobody could renew this one while another had cut the only path: its time begins anew."""
        if self.state in STANDING:
            self.renewed_ns = boottime_ns()
            self.mark()

    def _await_somebody(self) -> None:
        """Until a coordinator is heard of; when nobody is, the way to this device is not as it was, and a boot is what is left to try."""
        reverted_ns = self._until_ns - int(self._kept["confirm_s"] * 1e9)
        with self._around.changed:
            reached = self._around.last_heard_ns() > reverted_ns
            if not reached and boottime_ns() < self._until_ns:
                self._around.changed.wait(LOOK_S)
                return
        if not reached:
            self._reboot("nobody reached it after its revert")
        self.go()

    def go(self) -> None:
        """Nothing of it is left, on the disk neither. Not under the lock: a disk that hangs must not keep the others."""
        self.drop()
        with self._around.changed:
            self.gone, self.left = True, []
            if self._around.watches.get(self.program_name) is self:
                del self._around.watches[self.program_name]
            if not any(watch.run_token == self.run_token for watch in self._around.watches.values()):
                self._around.notes.forget(self.run_token)
            self._around.changed.notify_all()

    def _reboot(self, why: str) -> None:
        self._note("rebooting", flush=True, why=why).wait(NOTED_LIMIT_S)
        self._around.reboot()

    def _note(self, kind: str, flush: bool = False, **payload: Any) -> Any:
        return self._around.notes.note(self.run_token, kind, {"program": self.program_name, **payload}, flush)

    def note_armed(self) -> Any:
        kept, undo = self._kept, [act["argv"] for act in self._program["undo"]]
        said = {"fault": self._program["fault"], "holder": kept["holder"], "renew_s": kept["renew_s"], "cap_s": kept["cap_s"], "undo": undo}
        return self._note("armed", flush=True, **said)


def undo_of(kept: dict[str, Any]) -> dict[str, Any]:
    """As much of it as is needed to take it back without its file: not its steps, which may be thousands, in each mark."""
    steps = [{"at_s": 0.0, "acts": [], "word": "", "on": True}]
    return {**kept, "program": {**kept["program"], "prepare": [], "steps": steps}, "undo_only": True}


def read_kept(path: str) -> dict[str, Any]:
    """A durable file. Raises ValueError or OSError for one that is none: it was never whole, or the disk has damaged it."""
    kept: dict[str, Any] = read_json(path)
    programs.check_kept(kept)
    if os.path.basename(path) != f"{kept['program']['name']}.json":
        raise ValueError(f"it is the program {kept['program']['name']!r}")
    return kept
