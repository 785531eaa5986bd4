"""Make `.venv` hold exactly what a lock names, and the project itself, installed from this directory.

`python tools/setup.py node|dev`. Nothing but the standard library and pip is needed: every package comes as a wheel with
a locked hash, and the build backend is one of them. A stamp, written last, says what the environment holds; without
a fitting stamp (an interrupted run, a moved directory, another Python) the environment is made anew, with one it is left
alone, which takes a few milliseconds.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(".venv")
STAMP = VENV / "stamp.json"
LOCKS = {"node": ("node",), "dev": ("dev", "node")}  # the dev lock holds all of the node lock, in the same versions
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")


def main(arguments: Sequence[str]) -> int:
    """Make the environment fit and return the exit code."""
    if len(arguments) != 1 or arguments[0] not in LOCKS:
        print("usage: setup.py node|dev", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    # Two makes at once must not build one environment together. The lock ends with the process.
    directory = os.open(".", os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    try:
        _make_environment(arguments[0])
    except subprocess.CalledProcessError as error:
        print(f"\n{error.output or ''}", file=sys.stderr)
        print(f"chainstrata: {' '.join(map(str, error.cmd[:6]))} … failed; what it said stands above", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the next run starts the environment anew", file=sys.stderr)
        return 130
    return 0


def _make_environment(kind: str) -> None:
    """Bring the environment to what is wanted, by the least that leads there: nothing, the project alone, more packages, all."""
    identity = {"directory": str(ROOT), "python": sys.version}
    locks = {name: _digest(Path("locks", f"{name}.txt").read_bytes()) for name in LOCKS["dev"]}
    project = _project_digest()
    found = _read_stamp()
    held: dict[str, str] = found.get("locks", {})
    fits = bool(held) and found.get("identity") == identity and all(locks[name] == held[name] for name in held)
    if fits and kind in held and found.get("project") == project:
        return
    STAMP.unlink(missing_ok=True)
    if not fits:
        held = {}
        _create_venv()
    if kind not in held:
        _install_lock(kind)
        held = {name: locks[name] for name in LOCKS[kind]}
    _install_project()
    STAMP.write_text(json.dumps({"identity": identity, "locks": held, "project": project}, indent=1), encoding="utf-8")


def _project_digest() -> str:
    """Return a digest of what an editable install takes from pyproject.toml: metadata, scripts, entry points, layout."""
    tables = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    parts = [tables["project"], tables["build-system"], tables["tool"]["hatch"]]
    return _digest(json.dumps(parts, sort_keys=True).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_stamp() -> dict[str, Any]:
    try:
        stamp: dict[str, Any] = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp


def _create_venv() -> None:
    if VENV.exists() and not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
        raise SystemExit(f"chainstrata: {ROOT / VENV} is there and is no Python environment; move it away")
    python = _base_python()
    with _Step(f"create .venv with Python {sys.version.split()[0]}"):
        shutil.rmtree(VENV, ignore_errors=True)
        # The pip of the machine installs into it, where there is one: distributions split ensurepip off, and it is slower.
        without = ["--without-pip"] if _outer_pip() else []
        _run([python, "-m", "venv", *without, str(VENV)])


def _base_python() -> str:
    """Return the Python behind the environment this may be running in, since that one is about to go."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _outer_pip() -> list[str]:
    """Return how to call the machine's own pip on `.venv`, or nothing where it is missing or too old for --python."""
    command = [_base_python(), *PIP, "--python", str(VENV / "bin" / "python")]
    probe = subprocess.run([*command[:-2], "install", "--python", "x", "--help"], capture_output=True, check=False)
    return command if probe.returncode == 0 else []


def _pip() -> list[str]:
    inside = [str(VENV / "bin" / "python"), *PIP]
    probe = subprocess.run([*inside, "--version"], capture_output=True, check=False)
    return inside if probe.returncode == 0 else _outer_pip()


def _install_lock(kind: str) -> None:
    lock = Path("locks", f"{kind}.txt")
    total = sum(1 for line in lock.read_text(encoding="utf-8").splitlines() if line[:1].isalnum())
    with _Step(f"install locks/{kind}.txt, {total} packages") as step:
        # Wheels only: no compiler is needed, and no package runs code of its own while it is installed.
        command = [*_pip(), "install", "--progress-bar=off", "--require-hashes", "--only-binary=:all:", "-r", str(lock)]
        # A group of its own, because pip runs a second process inside the environment; an interrupt is passed on to both, and they are
        # gone before this process is, so that they cannot write into the environment of the next run.
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0) as process:
            try:
                output = _follow(process, step, total)
            except KeyboardInterrupt:
                os.killpg(process.pid, signal.SIGTERM)
                process.communicate()
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, output)


def _follow(process: "subprocess.Popen[str]", step: "_Step", total: int) -> str:
    """Show how far pip is while it runs, and return all that it said."""
    output = []
    done = 0
    for line in process.stdout or ():
        output.append(line)
        done += line.startswith(("Collecting ", "Requirement already satisfied: "))
        step.show(min(done, total), total)
    return "".join(output)


def _install_project() -> None:
    with _Step("install chainstrata from this directory"):
        _run([*_pip(), "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--editable", "."])


def _run(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)


class _Step:
    """Prints what is being done while it is, then how long it took."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tty = sys.stdout.isatty()
        self._began = time.monotonic()

    def __enter__(self) -> "_Step":
        print(f"{self._name} …", end="" if self._tty else "\n", flush=True)
        return self

    def show(self, done: int, total: int) -> None:
        if self._tty:
            print(f"\r{self._name} … {done}/{total}", end="", flush=True)

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        took = f"{time.monotonic() - self._began:.1f} s"
        if kind is None:
            print(f"\r\033[K{self._name}: {took}" if self._tty else f"{self._name}: {took}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
