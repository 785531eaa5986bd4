"""What must not stand in any file of the repository."""

import configparser
import os
import re
import site
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tools.tree import ROOT, list_files

MAXIMUM_BYTES = 1024 * 1024
LOCAL = {"", "localhost", "127.0.0.1", "::1"}


def read_text_files() -> Iterator[tuple[Path, str]]:
    for path in list_files():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            yield path, content.decode("utf-8")


def list_pip_configurations() -> list[Path]:
    home, named = Path.home(), os.environ.get("PIP_CONFIG_FILE")
    places = [Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    places += [Path(prefix, "pip.conf") for prefix in {sys.prefix, sys.base_prefix, site.PREFIXES[0]}]
    return [path for path in [*places, *([Path(named)] if named else [])] if path.is_file()]


def list_index_hosts() -> set[str]:
    """Return the hosts that pip on this machine fetches from, as its own configuration names them."""
    values = [value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_")) and "://" in value]
    for path in list_pip_configurations():
        parser = configparser.RawConfigParser()
        parser.read(path, encoding="utf-8")
        values += [value for section in parser.sections() for _, value in parser.items(section)]
    return {urlsplit(word).hostname or "" for value in values for word in value.split() if "://" in word} - LOCAL


def list_machine_paths() -> list[str]:
    """Return what would tell on which machine this was written: where it is checked out and whose home it was."""
    parent = ROOT.parent
    ordinary = {Path("/"), Path("/home"), Path("/srv"), Path("/opt"), Path("/tmp"), Path("/usr/src"), Path("/builds"), Path("/app")}
    return [str(ROOT) + "/", *([f"{parent}/"] if parent not in ordinary else []), f"{Path.home()}/"]


def find(pattern: str) -> list[str]:
    expression = re.compile(pattern)
    return [str(path) for path, text in read_text_files() if expression.search(text)]


def test_no_package_index_is_named() -> None:
    found = {host: find(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])") for host in list_index_hosts()}
    assert {host: files for host, files in found.items() if files} == {}


@pytest.mark.parametrize("place", list_machine_paths())
def test_no_path_of_this_machine_stands_anywhere(place: str) -> None:
    assert find(rf"(?<![\w.]){re.escape(place)}") == []


def test_no_file_is_large() -> None:
    assert [str(path) for path in list_files() if (ROOT / path).stat().st_size > MAXIMUM_BYTES] == []


def test_all_text_is_utf8_with_unix_lines_and_an_end() -> None:
    texts = {str(path): text for path, text in read_text_files()}
    assert [path for path, text in texts.items() if "\r" in text] == []
    assert [path for path, text in texts.items() if text and not text.endswith("\n")] == []
