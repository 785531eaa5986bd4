"""The data directory of the embedded server: found, made, checked and configured.

A new one is made beside its place and renamed into it, so a crash in the middle leaves nothing half made. An existing one
is only ever started if it is this home's: same system identifier, same major version, right owner.
"""

import asyncio
import contextlib
import ctypes
import hashlib
import re
import shutil
import signal
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final

from psycopg import sql

from chainstrata.engines.postgres import errors
from chainstrata.engines.postgres.account import Account, can_traverse, owner_name
from chainstrata.engines.postgres.home import ClusterRecord, sync_directory, unusable, write_whole
from chainstrata.engines.postgres.host import MB
from chainstrata.engines.postgres.locate import Binaries, locate_binaries, probe_binaries
from chainstrata.engines.postgres.processes import die_with_parent, list_makers, send, wait_gone
from chainstrata.engines.postgres.tuner import Parameter
from chainstrata.errors import ConfigError

SUPERUSER: Final = "chainstrata"
# Where data and binaries go that the server's user cannot reach in the home.
STATE: Final = Path("/var/lib/chainstrata")
ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}

_FIRST_START_SPACE: Final = 160 * MB
_NO_SPACE: Final = "No space left on device"
_BUILTIN_LOCALES: Final = 17
_PARTIAL: Final = ".new-"
_MAKERS_END: Final = 10.0
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_OURS: Final = frozenset({"data_directory", "hba_file", "ident_file", "listen_addresses", "port", "unix_socket_directories"})
_DURABLE: Final = frozenset({"fsync", "full_page_writes", "synchronous_commit"})
_OFF: Final = frozenset({"off", "false", "no", "0", "of", "f", "n"})
_HBA: Final = """# Written at every start. Local connections only, every one with a password.
local   all           all                 scram-sha-256
local   replication   all                 scram-sha-256
host    all           all   127.0.0.1/32  scram-sha-256
host    replication   all   127.0.0.1/32  scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data directory and what runs it."""

    home: Path
    data: Path
    account: Account
    binaries: Binaries
    record: ClusterRecord

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"


def find_cluster(home: Path, account: Account, bin_directory: Path, say: Callable[[str, str], None]) -> Cluster:
    """Return this home's cluster, which may still have to be made. Raises an `EmbeddedError` for one that is not its own."""
    record = ClusterRecord.read(home)
    # Relative where it is in the home, so that a home can be moved.
    root = (home / record.data).parent if record.data else _choose_root(home, account, say)
    majors = sorted(int(path.parent.name) for path in root.glob("*/PG_VERSION") if path.parent.name.isdigit())
    held = int(Path(record.data).name) if record.ready else (majors[-1] if majors else None)
    binaries = _choose_binaries(bin_directory, held, root)
    data = root / str(held or binaries.major)
    cluster = Cluster(home, data, account, _reachable(binaries, account, say), record)
    if data.exists() and any(data.iterdir()):
        return _verify(cluster)
    if record.ready:
        raise errors.DataMissing(data, home / "postgres.json")
    return cluster


def _choose_root(home: Path, account: Account, say: Callable[[str, str], None]) -> Path:
    inside = home / "postgres"
    if not account.switch or can_traverse(inside, account) or any(inside.glob("*/PG_VERSION")):
        return inside
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", home.parent.name).strip("-")[:40] or "home"
    base = f"{name}-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"
    # One that is there already belongs to an earlier home of this path: it is left alone.
    choices = (STATE / (base if number == 1 else f"{base}-{number}") for number in range(1, 1000))
    root = next(path for path in choices if not path.exists() or not any(path.iterdir()))
    say("data", f"{home} cannot be reached by user {account.name}: the data goes to {root}")
    return root


def _choose_binaries(directory: Path, held: int | None, root: Path) -> Binaries:
    try:
        found = locate_binaries(directory, major=held)
    except errors.BinariesMissing:
        if held is None:
            raise
        found = locate_binaries(directory)
    if held is not None and found.major != held:
        raise errors.MajorVersionMismatch(root / str(held), data=held, binaries=found.major)
    return found


def _reachable(binaries: Binaries, account: Account, say: Callable[[str, str], None]) -> Binaries:
    """Return binaries the server's user can run: these, or a copy where it can."""
    if not account.switch or can_traverse(binaries.directory, account):
        return binaries
    prefix = binaries.prefix
    # Wheels keep the libraries that their programs link to in a directory beside the package.
    libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    copy = STATE / "binaries" / f"{binaries.version}-{hashlib.sha256(str(prefix).encode()).hexdigest()[:8]}"
    directory = copy / prefix.parent.name / prefix.name / binaries.directory.name
    if not (directory / "postgres").is_file():
        say("binaries", f"{prefix} cannot be reached by user {account.name}: copied to {copy}")
        try:
            copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=copy.parent) as partial:
                tree = Path(partial, "tree")
                shutil.copytree(prefix, tree / prefix.parent.name / prefix.name, symlinks=True)
                if libraries.is_dir():
                    shutil.copytree(libraries, tree / libraries.name)
                for place in (tree, tree / prefix.parent.name, tree / prefix.parent.name / prefix.name):
                    place.chmod(0o755)
                tree.replace(copy)
        except OSError as error:
            raise unusable(copy, error) from error
    return probe_binaries(directory, binaries.source)


def _verify(cluster: Cluster) -> Cluster:
    data, record = cluster.data, cluster.record
    version = data / "PG_VERSION"
    if not version.is_file():
        raise errors.DataDirectoryForeign(data, "it is not empty and has no PG_VERSION")
    major = version.read_text(encoding="ascii").strip()
    if major != str(cluster.binaries.major):
        raise errors.MajorVersionMismatch(data, data=int(major), binaries=cluster.binaries.major)
    owner = data.stat().st_uid
    if owner != cluster.account.uid:
        raise errors.DataDirectoryOwner(data, owner=owner_name(owner), wanted=cluster.account.name)
    found = read_system_identifier(data)
    if not record.system_identifier:
        raise errors.DataDirectoryForeign(data, "this home has no record of it")
    if found != record.system_identifier:
        raise errors.DataDirectoryForeign(data, f"its system identifier is {found}, this home's is {record.system_identifier}")
    return cluster


def read_system_identifier(data: Path) -> str:
    """Return the number that is drawn once when a data directory is made; raise `DataDirectoryForeign` if it has none."""
    try:
        head = (data / "global/pg_control").read_bytes()[:8]
        return str(struct.unpack("=Q", head)[0])
    except (OSError, struct.error) as error:
        raise errors.DataDirectoryForeign(data, f"global/pg_control cannot be read: {error}") from error


async def make_cluster(cluster: Cluster, password: str) -> Cluster:
    """Make the data directory and return the cluster as it then is."""
    root, account = cluster.data.parent, cluster.account
    try:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
        if free < _FIRST_START_SPACE:
            raise errors.DiskFull(f"{root} has {free // MB} MB free, a first start needs {_FIRST_START_SPACE // MB} MB")
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=root))
        account.own(partial)
        fresh = await _initdb(cluster, partial, password)
        inside = cluster.data.is_relative_to(cluster.home)
        place = str(cluster.data.relative_to(cluster.home) if inside else cluster.data)
        record = replace(cluster.record, data=place, system_identifier=read_system_identifier(fresh))
        record.write(cluster.home)
        if cluster.data.exists():
            cluster.data.rmdir()
        fresh.replace(cluster.data)
        sync_directory(root)
        partial.rmdir()
    except OSError as error:
        raise unusable(root, error) from error
    return replace(cluster, record=record)


async def remove_partials(root: Path) -> None:
    """Remove what first starts left that were killed. Their initdb may still be at work, or busy with removing it itself."""
    for left in root.glob(f"{_PARTIAL}*"):
        deadline = monotonic() + _MAKERS_END
        while (makers := list_makers(left)) and monotonic() < deadline:
            # Again until there are none: one that was just being started shows up only the next time.
            send(makers, signal.SIGKILL)
            await wait_gone(makers, _MAKERS_END)
        try:
            shutil.rmtree(left)
        except OSError as error:
            raise unusable(left, error) from error


async def _initdb(cluster: Cluster, partial: Path, password: str) -> Path:
    account, fresh = cluster.account, partial / "data"
    # Not through a pipe: /dev/stdin cannot be opened after the change of user.
    secret = partial / "password"
    write_whole(secret, password + "\n", owner=(account.uid, account.gid))
    command = [
        str(cluster.binaries.tool("initdb")),
        f"--pgdata={fresh}",
        f"--username={SUPERUSER}",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--data-checksums",
        *_locale(cluster.binaries.major),
    ]
    status, text = await _run(command, account, partial)
    secret.unlink()
    if status:
        shutil.rmtree(partial)
        if _NO_SPACE in text:
            raise errors.DiskFull(f"no space left to make {cluster.data}")
        raise errors.StartFailed("initdb failed", log="\n".join(text.strip().splitlines()[-8:]), hint="The message says what it met.")
    return fresh


async def set_password(cluster: Cluster, password: str) -> None:
    """Set the superuser's password while the server is down: what the password file says is what counts."""
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(SUPERUSER), sql.Literal(password)).as_string()
    command = [str(cluster.binaries.tool("postgres")), "--single", "-D", str(cluster.data), "template1"]
    status, text = await _run(command, cluster.account, cluster.data, f"{statement}\n")
    if status or "ERROR:" in text:
        raise errors.StartFailed("the password cannot be set", log="\n".join(text.strip().splitlines()[-8:]))


async def _run(command: list[str], account: Account, directory: Path, given: str = "") -> tuple[int, str]:
    """Run a program as the server's user in a directory to its end; return its status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=directory,
        env=ENVIRONMENT,
        umask=0o077,
        start_new_session=True,
        # One prctl call; nothing that another thread's lock could stop.
        preexec_fn=die_with_parent(signal.SIGTERM),
        **account.spawn_options,
    )
    try:
        output, _ = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


def _locale(major: int) -> list[str]:
    if major >= _BUILTIN_LOCALES:
        # Part of the server, so an update of the C library never changes the order of an index.
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C.UTF-8" if _library_knows("C.UTF-8") else "--locale=C"]


def _library_knows(locale: str) -> bool:
    library = ctypes.CDLL(None)
    library.newlocale.restype = ctypes.c_void_p
    library.freelocale.argtypes = [ctypes.c_void_p]
    made = library.newlocale(0x1FBF, locale.encode(), None)
    if made:
        library.freelocale(made)
    return bool(made)


def write_configuration(cluster: Cluster, parameters: list[Parameter]) -> None:
    """Write the server's configuration. `ALTER SYSTEM` still wins over it."""
    lines = ["# Written at every start. Set postgres.extra in chainstrata.toml, or use ALTER SYSTEM, which wins over this file.", ""]
    for parameter in parameters:
        lines += [f"# {parameter.reason}", f"{parameter.name} = {parameter.quoted}"]
    owner = (cluster.account.uid, cluster.account.gid) if cluster.account.switch else None
    try:
        write_whole(cluster.data / "postgresql.conf", "\n".join(lines) + "\n", owner=owner)
        write_whole(cluster.data / "pg_hba.conf", _HBA, owner=owner)
    except OSError as error:
        raise unusable(cluster.data, error) from error


def check_extra(extra: dict[str, Any]) -> None:
    """Raise `ConfigError` for parameters the supervisor sets itself and for values that would lose committed rows."""
    problems: list[str] = []
    for name, value in extra.items():
        if not _PARAMETER.match(name):
            problems.append(f"postgres.extra: {name!r} is not a parameter name")
        elif name in _OURS:
            problems.append(f"postgres.extra: {name} is set by the node itself")
        elif name in _DURABLE and str(value).strip().lower() in _OFF:
            problems.append(f"postgres.extra: {name} stays on, because an acknowledged write must survive a crash")
    if problems:
        raise ConfigError(problems)


def read_pid_file(cluster: Cluster) -> tuple[int, str]:
    """Return the pid and the status of `postmaster.pid`, 0 and nothing without one."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = cluster.pid_file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        return abs(int(lines[0])), lines[7].strip() if len(lines) > 7 else ""
    return 0, ""
