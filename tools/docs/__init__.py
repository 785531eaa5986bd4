"""The documentation that follows from the code: which pages there are, what they say now, which are stale.

A generator returns pages. It must give the same text every time, without an engine, in well under a second, because the test
that looks for stale pages runs them all. To add one, write a module here with a function `pages` and name it in GENERATORS.
"""

from tools.docs import api, commands, conformance, errors, metrics, packs, questions, settings
from tools.docs.page import MARK, Generator
from tools.tree import ROOT

__all__ = ["DOCS", "GENERATORS", "build_pages", "find_orphans", "find_stale"]

DOCS = ROOT / "docs"
PAGES = (conformance, packs, questions, settings, commands, errors, api, metrics)
GENERATORS: tuple[Generator, ...] = tuple(module.pages for module in PAGES)


def build_pages() -> dict[str, str]:
    """Return the text of every generated page by its path below `docs/`."""
    built: dict[str, str] = {}
    for generate in GENERATORS:
        for page in generate():
            if page.path in built:
                raise ValueError(f"docs/{page.path} is generated twice")
            built[page.path] = page.text
    return built


def find_stale(built: dict[str, str]) -> list[str]:
    """Return the pages whose file is missing or says something else."""
    return [path for path, text in built.items() if not (DOCS / path).is_file() or (DOCS / path).read_text(encoding="utf-8") != text]


def find_orphans(built: dict[str, str]) -> list[str]:
    """Return the files that were generated once and no longer are."""
    pages = (path for path in DOCS.rglob("*.md") if path.read_text(encoding="utf-8").startswith(MARK))
    return sorted(name for name in (str(path.relative_to(DOCS)) for path in pages) if name not in built)
