"""What the explanations of PostgreSQL say is what the code has."""

import re
from pathlib import Path

import pytest

from chainstrata.config import REGISTRY, show_value
from chainstrata.engines.postgres.tuner import Features, tune
from tests.unit.test_tuner import HOST
from tools.tree import ROOT

PAGES = ROOT / "docs/explanation"


def read(name: str) -> str:
    return Path(PAGES, name).read_text(encoding="utf-8")


@pytest.mark.conforms("S0-43")
def test_every_setting_of_the_pool_is_explained_with_its_default() -> None:
    text = read("connection-pool.md")
    rows = re.findall(r"^\| (`pool\..+?) \| (.+?) \|", text, re.MULTILINE)
    explained = {
        name: value for names, values in rows for name, value in zip(re.findall(r"`(.+?)`", names), values.split(", "), strict=True)
    }
    settings = {key: setting for key, setting in REGISTRY.items() if key.startswith("pool.")}
    assert explained == {key: re.sub(r"(\d)([a-z]+)$", r"\1 \2", show_value(setting.default)) for key, setting in settings.items()}


@pytest.mark.conforms("S0-50")
@pytest.mark.parametrize("page", ["tuning.md", "embedded-postgres.md"])
def test_every_parameter_and_setting_named_exists(page: str) -> None:
    parameters = {one.name for one in tune(HOST, Features(18))}
    for name in re.findall(r"`((?:max|autovacuum|wal|shared|work|maintenance|effective|idle)_\w+)", read(page)):
        assert name in parameters
    for name in re.findall(r"`(postgres\.\w+)`", read(page)):
        assert name in REGISTRY or name == "postgres.json"
