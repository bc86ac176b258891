"""The device's end of the line, put there through a login shell: in verified pieces, and only once per version.

    which Python?  ─►  is it there, whole?  ─►  (piece, "have N", piece, …, sum of all)  ─►  started: a conversation begins
        └─► none: what this device is, and what it lacks

Four small files of `ondevice/` are all that must come before there is a conversation; everything else goes through that. A
piece is a line of text with a sum of its own; the device answers how much it has, so a damaged piece costs itself, and a
transfer that broke off goes on where it was. What is there is run only if its SHA-256 is right, at every start.
"""

from __future__ import annotations

import base64
import io
import re
import secrets
import shlex
import time
import zipfile
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from runner.errors import LabError
from runner.ondevice.channels import Conversation
from runner.ondevice.line import ready_words
from runner.ondevice.reliable import Reliable
from runner.target.bundle import sha256, supervisor_sources
from runner.target.preflight import OLDEST_PYTHON
from runner.target.rate import duration_words, size_words
from runner.target.serial.shell import Console
from runner.target.transports.base import LinkLost, words

if TYPE_CHECKING:
    from runner.target.serial.talk import Talk

FILES = ("__init__", "line_packets", "reliable", "channels", "line")
PIECE_BYTES = 180  # 240 letters: with its head less than any terminal's line
PIECE_LIMIT_S, PIECE_TRIES = 5.0, 10
TYPED_SHARE = 1.6  # of a piece's bytes: its letters, its head, and the answer to it
TRIES = 3
CLEAR = b"\x03\x15\r"  # whatever stands half typed there
START_LIMITS_S = (15.0, 15.0, 60.0)  # what is typed has no sum, and may be typed in vain; the last for a slow board's Python
PUT_LIMIT_S, PUT_TIMES = 300.0, 10.0  # for all of it, and so many times as long as it takes at its rate
SILENCE_LIMIT_S = 30.0
# The first that is new enough ends it; of one that is too old it is said.
PROBE = (
    "for p in python3 /usr/bin/python3 /usr/local/bin/python3 python3.13 python3.12 python3.11 python3.10 python3.9 python; do "
    '$p -c \'import sys; v=sys.version_info; print("py=%d.%d.%s" % (v[0], v[1], sys.executable)); '
    f"sys.exit(tuple(v[:2]) < {OLDEST_PYTHON})' 2>/dev/null && break; done"
)
LACKS = (
    'echo "$(uname -srm) / $(sed -n s/^PRETTY_NAME=//p /etc/os-release 2>/dev/null)"; '
    "for p in apt-get apk opkg dnf yum pacman; do command -v $p; done; df -k / | tail -n 1"
)
INSTALLERS = {"apt-get": "apt-get install python3", "apk": "apk add python3", "opkg": "opkg install python3", "pacman": "pacman -S python"}
# Where the device's end lies, on the device: in a folder that nobody else may write to, and first where the supervisor lives, for what
# is there outlives a cut; a home may be gone with it. Where it is not yet, the folder has to take as many bytes as it has, and more: a
# disk that is full makes empty files. Each answer stands on a line of its own, for a shell's prompts for further lines stand before
# the first.
FIND = r"""
import sys,os,errno,hashlib
H=sys.argv[1];P=None;N="place";u=os.umask(0o77)
def ok(f):
 try: return hashlib.sha256(open(f,"rb").read()).hexdigest()==H
 except OSError: return False
def why(e): return "full" if e.errno in (errno.ENOSPC,errno.EDQUOT) else N
for r in (*filter(None,sys.argv[3:]),os.path.expanduser("~/.cache"),"/var/tmp","/tmp"):
 d=os.path.join(r,"stageflow-runner-%d"%os.getuid());p=d+"/line-"+H[:16]
 try:
  os.makedirs(d,0o700,exist_ok=True);s=os.lstat(d)
  if s.st_uid-os.getuid() or s.st_mode&0o22 or os.path.islink(d): continue
  if not ok(p):
   with open(d+"/.try","wb") as f: f.write(bytes(32768));f.flush();os.fsync(f.fileno())
   os.unlink(d+"/.try")
  P=p;break
 except OSError as e:
  N=why(e)
  try: os.unlink(d+"/.try")
  except OSError: pass
os.umask(u)
"""
# What runs there until it is there, whole: it takes pieces, and says after each how much it has.
STUB = (
    FIND
    + r"""
import zlib,binascii as b,termios as t
if P is None: print("\nno="+N);sys.exit()
if ok(P): print("\nat="+P);sys.exit()
a=t.tcgetattr(0);n=t.tcgetattr(0);n[3]&=~t.ECHO;t.tcsetattr(0,t.TCSANOW,n)
try:
 with open(P+".part","ab") as f:
  while f.tell()<int(sys.argv[2]):
   print("\nhave=%d"%f.tell(),flush=True)
   w=sys.stdin.readline().split()
   if w[:1]==["stop"]: break
   try:
    x=b.a2b_base64(w[2])
    if int(w[0])==f.tell() and int(w[1])==zlib.crc32(x): f.write(x);f.flush()
   except (ValueError,IndexError): pass
  os.fsync(f.fileno())
 if ok(P+".part"):
  os.rename(P+".part",P);d=P
  for _ in "12": d=os.path.dirname(d);g=os.open(d,0);os.fsync(g);os.close(g)
  print("\nat="+P)
 else: os.unlink(P+".part");print("\nno=sum")
except OSError as e: N="disk";print("\nno="+why(e))
finally: t.tcsetattr(0,t.TCSANOW,a)
"""
)
# In the same process, for a slow board's Python takes a second to begin. The first place to look for modules is the zip, and not the home.
START = FIND + "if P and ok(P): sys.path[0]=P;from ondevice.line import main;sys.exit(main([sys.argv[2]]))\n"


def line_zip() -> bytes:
    """The device's end: a zip that Python imports, the same bytes for the same sources."""
    sources, buffer = supervisor_sources(), io.BytesIO()
    files = {f"ondevice/{name}.py": sources[f"ondevice/{name}.py"] for name in FILES}
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), files[name], zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


_NOES = {"sum": "damaged", "disk": "its disk said no"}


async def begin(
    console: Console, name: str, say: Callable[[str], None], talk: Callable[[Conversation], Talk], baud: int, lasting: str = ""
) -> Talk:
    """From a shell to a conversation. `baud` 0 is a line without a pace, for which no time is said; `lasting` is a folder on the device
    that outlives a cut, where one is known.

    Raises LabError that says what device `name` lacks, LinkLost for a line that broke.
    """
    data, epoch = line_zip(), secrets.token_bytes(8)
    if not await start(console, "python3", data, epoch, name, lasting):
        python = await find_python(console, name)
        await put(console, python, data, name, say, baud, lasting)
        if not await start(console, python, data, epoch, name, lasting):
            raise LinkLost(f"the device's end of the line does not start on {name}")
    return talk(Conversation(Reliable(epoch, True, time.monotonic_ns(), SILENCE_LIMIT_S)))


async def start(console: Console, python: str, data: bytes, epoch: bytes, name: str, lasting: str = "") -> bool:
    """Starts the device's end in the shell's place on the terminal, if it is there and whole; whether it began. One start of Python.

    The shell keeps the terminal's settings, and puts them back should that end be killed. Raises LinkLost when no try was answered.
    """
    run = f"{python} -S -c '{START}' {sha256(data)} {epoch.hex()} {shlex.quote(lasting)}"
    for number, limit_s in enumerate(START_LIMITS_S, 1):
        await console.write(_typed(f' t=$(stty -g 2>/dev/null); {run}; stty "$t" 2>/dev/null; echo; echo "no="line{number}'))
        wanted = re.compile(re.escape(ready_words(epoch)) + rb"\r?\n|\nno=line%d\r?\n" % number)
        try:
            return b"ready" in (await console.until(wanted, limit_s, f"the device's end of the line to begin on {name}"))[0]
        except LinkLost:
            if number == len(START_LIMITS_S):
                raise
            await console.write(CLEAR)
    raise AssertionError("the last try returns or raises")


def _typed(command: str) -> bytes:
    """As somebody would type it: Enter is a carriage return."""
    return command.replace("\n", "\r").encode() + b"\r"


async def find_python(console: Console, name: str) -> str:
    """A Python of the device that is new enough. Raises LabError that says what the device is, and how it may get one."""
    said, _ = await console.ask(PROBE, limit_s=30)
    pythons = re.findall(r"py=(\d{1,3})\.(\d{1,3})\.(/\S+)", said)
    for major, minor, path in pythons:
        if (int(major), int(minor)) >= OLDEST_PYTHON:
            return str(path)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    has = f"Python {pythons[0][0]}.{pythons[0][1]}" if pythons else "no Python"
    about, _ = await console.ask(LACKS)
    tools = [line.rpartition("/")[2] for line in about.splitlines()]
    how = next((INSTALLERS[tool] for tool in tools if tool in INSTALLERS), "put one into its image")
    disk = re.search(r"(\d{1,15})\s+\d+%", about)
    free = f", {int(disk[1]) // 1024} MB free on /" if disk else ""
    first = words(about.splitlines()[0].strip(' /"'), 120) if about else "it does not say what it is"
    raise LabError(f"{name} has {has} ({first}{free})", expected=f"Python {oldest} or later", do=how)


async def put(console: Console, python: str, data: bytes, name: str, say: Callable[[str], None], baud: int, lasting: str = "") -> str:
    """Those bytes as a file on the device, verified there; where it is. Raises LabError, LinkLost.

    What has arrived is not sent again, neither within this nor by a later one.
    """
    deadline = time.monotonic() + PUT_LIMIT_S + (PUT_TIMES * len(data) * TYPED_SHARE * 10 / baud if baud else 0.0)
    for number in range(TRIES):
        limit_s = START_LIMITS_S[number]
        try:
            return await _put(console, python, data, name, say if number == 0 else lambda text: None, baud, lasting, limit_s, deadline)
        except LinkLost:
            if number + 1 == TRIES or time.monotonic() > deadline:
                raise
            await console.write(b"\rstop\r" + CLEAR)  # out of the stub, or of a line that was damaged
    raise AssertionError("the last try returns or raises")


async def _put(
    console: Console,
    python: str,
    data: bytes,
    name: str,
    say: Callable[[str], None],
    baud: int,
    lasting: str,
    limit_s: float,
    deadline: float,
) -> str:
    await console.write(_typed(f" {python} -S -c '{STUB}' {sha256(data)} {len(data)} {shlex.quote(lasting)}; echo; echo \"no=\"stub"))
    what = f"{name} to take the device's end of the line"
    kind, value = await _answer(console, limit_s, what)
    if kind == "have":
        size = max(0, len(data) - int(value))
        takes = f", about {duration_words(size * TYPED_SHARE * 10 / baud)} at {baud:,} baud" if baud else ""
        say(f"putting {size_words(size)} through the console of {name}{takes}: nothing can be run over it before")
    refused, strayed, sent, wanted = 0, 0, -1, -1
    while kind == "have":
        have = int(value)
        refused = refused + 1 if have == sent else 0
        strayed += have not in (sent, wanted)  # an answer that the line damaged, or a device that leads us on; the first one is neither
        if refused == PIECE_TRIES:
            raise LinkLost(f"{name} refused one piece {refused} times: the line damages every line of {PIECE_BYTES * 4 // 3} letters")
        if strayed > PIECE_TRIES:
            raise LinkLost(f"{name} says again and again that it has what cannot be: last {have} bytes, of {len(data)}")
        if time.monotonic() > deadline:
            raise LinkLost(f"{name} has {have} of {len(data)} bytes of the device's end of the line, and the time for it is over")
        piece, sent = data[have : have + PIECE_BYTES], have
        wanted = have + len(piece)
        await console.write(b"%d %d %b\r" % (have, zlib.crc32(piece), base64.b64encode(piece)))
        try:
            kind, value = await _answer(console, PIECE_LIMIT_S, what)
        except LinkLost:
            await console.write(b"\r")  # an answer that got lost is given again to a line that holds no piece
            kind, value = await _answer(console, PIECE_LIMIT_S, what)
    if kind == "at":
        return value
    if value == "place":
        raise LabError(f"{name} has no folder for us", expected="~/.cache, /var/tmp or /tmp that can be written", do="look at its disk")
    if value == "full":
        raise LabError(f"the disk of {name} is full", expected="32 kB in ~/.cache, /var/tmp or /tmp", do="make room on it")
    raise LinkLost(f"{name} did not take the device's end of the line: {_NOES.get(value, 'its Python said no')}")


async def _answer(console: Console, limit_s: float, what: str) -> tuple[str, str]:
    """The stub's next word: have so many bytes, at this place, or no for a reason."""
    found = await console.until(re.compile(rb"(?:^|\n)(?:(have)=(\d{1,9})|(at)=(/[^\r\n]+)|(no)=(\w+))\r?\n"), limit_s, what)
    kind, value = [word.decode("utf-8", "replace") for word in found.groups() if word is not None]
    return kind, value
