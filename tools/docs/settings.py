"""The page of settings, from their registry."""

from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from chainstrata.config import REGISTRY, Setting, show_value
from tools.docs.page import Page, table

INTRODUCTION = """# Settings

A value comes from, strongest first: a flag (`--pool-max-size 10`, or `--set pool.max_size=10`), the environment
(`CHAINSTRATA_POOL_MAX_SIZE=10`), the file `chainstrata.toml`, libpq's own variables where a setting names one, the default.
`chainstrata config show` lists every value with where it came from, `chainstrata config check` names everything that does not fit.

In the file, a dot is a table:

```toml
[pool]
max_size = 10
max_idle = "30min"
```

A duration is written as `200ms`, `30s`, `5min`, `1h`, `90d` or `2w`, several in a row added up (`1h30min`)."""
TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    timedelta: "duration",
    Path: "path",
    list: "list, with commas between",
    dict: "pairs, as name=value,name=value",
}


def pages() -> Iterable[Page]:
    """Yield the page."""
    parts = [INTRODUCTION]
    for group, settings in groupby(sorted(REGISTRY.values(), key=_group), key=_group):
        rows = (_row(setting) for setting in settings)
        parts += [f"## {group or 'The node'}", table(("setting", "environment, flag", "type", "default", "applies", "meaning"), rows)]
    yield Page("reference/settings.md", "\n\n".join(parts))


def _group(setting: Setting[Any]) -> str:
    group, dot, _ = setting.key.partition(".")
    return group if dot else ""


def _row(setting: Setting[Any]) -> tuple[str, str, str, str, str, str]:
    default = show_value(setting.default)
    meaning = setting.doc + (" A secret: never shown." if setting.secret else "")
    meaning += f" libpq's `{setting.libpq}` sets it too." if setting.libpq else ""
    return (
        f"`{setting.key}`",
        f"`{setting.environment}`<br>`{setting.flag}`",
        TYPES[setting.type],
        f"`{default}`" if default else "empty",
        setting.applies,
        meaning,
    )
