"""Write the locks anew: `python tools/lock.py [--upgrade]`. Called by `make lock`.

`locks/dev.txt` is resolved first and constrains `locks/node.txt`, so what both hold, they hold in the same version. Universal: one
file serves every platform, through markers. No index address is written. Without `--upgrade` versions already locked are kept.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHOICES = {
    "dev": ["--extra", "embedded", "--extra", "columnar", "--extra", "lint", "--extra", "dev", "--group", "build"],
    "node": ["--extra", "embedded", "--extra", "lint", "--group", "build", "--constraints", "locks/dev.txt"],
}
OPTIONS = (
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-header",
    "--no-annotate",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-emit-package=chainstrata",
    "--quiet",
)


def main() -> int:
    """Resolve both locks and say how many packages each holds."""
    upgrade = ["--upgrade"] if "--upgrade" in sys.argv[1:] else []
    with tempfile.TemporaryDirectory() as directory:
        # uv is needed for this alone, so it lives in an environment that goes away again.
        venv.create(directory, with_pip=True)
        python = Path(directory, "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], check=True)
        for name, extras in CHOICES.items():
            output = f"locks/{name}.txt"
            command = [str(python), "-m", "uv", "pip", "compile", "pyproject.toml", *OPTIONS, *extras, *upgrade, "-o", output]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            count = sum(1 for line in (ROOT / output).read_text(encoding="utf-8").splitlines() if line[:1].isalnum())
            print(f"{output}: {count} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
