"""The pack that `chainstrata pack new` writes, built and installed beside the environment; and its first revision, written anew.

`python -m tools.template` makes the revision of the template what `chainstrata migrate make` writes for it now. Needed when a pack's
declarations lead to other statements than before; a test fails until it was run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from chainstrata.packs.new import PLACEHOLDER, SUFFIX, write_pack
from tools.tree import ROOT

TEMPLATE = ROOT / "src" / "chainstrata" / "packs" / "new" / "template"
MIGRATIONS = Path("src", f"chainstrata_{PLACEHOLDER}", "migrations")


@dataclass(frozen=True, slots=True)
class Installed:
    """A pack's project, and the directory it is installed in, which is no environment: only `run` looks there."""

    project: Path
    site: Path

    def run(self, *arguments: str, url: str = "", timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a Python module in the project's directory, with the pack installed, on the PostgreSQL of `url` or an embedded one."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHAINSTRATA_", "PYTEST_", "PG"))}
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.project,
            env=kept | {"PYTHONPATH": str(self.site)} | ({"CHAINSTRATA_POSTGRES_URL": url} if url else {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def install(project: Path, site: Path) -> Installed:
    """Build the project's wheel and unpack it into `site`, which is what installing comes to when nothing else is needed."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", directory]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
        [wheel] = Path(directory).glob("*.whl")
        zipfile.ZipFile(wheel).extractall(site)
    return Installed(project, site)


def main() -> int:
    """Write the first revision of the template anew."""
    # Not below what is closed to others: run as root, the server is an unprivileged user's.
    place = Path(tempfile.mkdtemp(prefix="chainstrata-"))
    place.chmod(0o755)
    try:
        write_pack(PLACEHOLDER, place / "project")
        shutil.rmtree(place / "project" / MIGRATIONS)
        installed = install(place / "project", place / "site")
        for command in (("migrate", "up"), ("migrate", "make", PLACEHOLDER, "--migrate-directory", str(place / "made"))):
            done = installed.run("chainstrata", *command)
            print(done.stdout + done.stderr, end="")
            if done.returncode:
                return done.returncode
        for old in (TEMPLATE / MIGRATIONS).iterdir():
            old.unlink()
        for made in (place / "made").iterdir():
            (TEMPLATE / MIGRATIONS / (made.name + SUFFIX)).write_text(made.read_text(encoding="utf-8"), encoding="utf-8")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
