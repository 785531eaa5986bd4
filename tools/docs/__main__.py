"""`python -m tools.docs` writes every generated page that is stale and removes those nobody generates any more."""

from tools.docs import DOCS, build_pages, find_orphans, find_stale


def main() -> None:
    """Bring `docs/` up to date and say what changed."""
    built = build_pages()
    stale, orphans = find_stale(built), find_orphans(built)
    for path in stale:
        (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / path).write_text(built[path], encoding="utf-8")
        print(f"wrote docs/{path}")
    for path in orphans:
        (DOCS / path).unlink()
        print(f"removed docs/{path}")
    print(f"{len(built)} generated pages, {len(stale)} written")


if __name__ == "__main__":
    main()
