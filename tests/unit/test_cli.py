"""The command line: global flags, the shape of answers and errors, and that it is quick."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from chainstrata.cli import main
from chainstrata.cli.output import to_plain
from chainstrata.cli.tree import build
from chainstrata.config import REGISTRY


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory, without settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CHAINSTRATA_")]:
        monkeypatch.delenv(name)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("arguments", [("--json", "version"), ("version", "--json")], ids=["before", "after"])
def test_global_flags_stand_before_or_after_the_command(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    code, out, _ = answer(capsys, *arguments)
    assert code == 0
    assert json.loads(out)["python"].startswith("3.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "pool.max_size=7", "config", "show", "pool.max_size"),
        ("config", "show", "pool.max_size", "--set", "pool.max_size=7"),
        ("config", "show", "pool.max_size", "--pool-max-size", "7"),
        ("--pool-max-size=7", "config", "show", "pool.max_size"),
    ],
)
def test_every_setting_is_a_flag(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    code, out, _ = answer(capsys, *arguments, "--json")
    assert code == 0
    assert json.loads(out)["pool.max_size"]["value"] == "7"
    assert json.loads(out)["pool.max_size"]["origin"] == "--pool-max-size"


def test_what_follows_two_dashes_is_left_alone() -> None:
    from chainstrata.cli.invocation import expand_setting_flags

    assert expand_setting_flags(["a", "--", "--pool-max-size", "7"]) == ["a", "--", "--pool-max-size", "7"]


def test_config_check_lists_all_problems_with_their_origin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("chainstrata.toml").write_text("[pool]\nmin_size = 'many'\nsize = 3\n", encoding="utf-8")
    monkeypatch.setenv("CHAINSTRATA_POOL_MAX_SIZE", "-1")
    code, out, err = answer(capsys, "config", "check")
    assert (code, out) == (2, "")
    assert "error: pool.max_size: must be positive (got -1, from CHAINSTRATA_POOL_MAX_SIZE)" in err.splitlines()
    assert any(line.startswith("error: pool.min_size: must be a whole number (got 'many', from ") for line in err.splitlines())
    assert any("pool.size: no such setting" in line and "pool.max_size" in line for line in err.splitlines())


def test_config_check_passes_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "config", "check", "--pool-max-size", "10")
    assert code == 0
    assert f"{len(REGISTRY)} settings fit, 1 of them given" in out


def test_secrets_are_masked_wherever_they_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("config", "show"), ("config", "show", "--json"), ("config", "show", "postgres", "--changed")):
        code, out, err = answer(capsys, *arguments, "--postgres-url", "postgresql://a:hunter2@db/x")
        assert code == 0
        assert "hunter2" not in out + err
        assert "********" in out


def test_config_path_names_file_and_home(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "chainstrata.toml").touch()
    _, out, _ = answer(capsys, "config", "path", "--json")
    assert json.loads(out) == {"file": str(tmp_path / "chainstrata.toml"), "home": str(tmp_path / ".chainstrata")}
    _, out, _ = answer(capsys, "config", "path", "--json", "--home", "elsewhere")
    assert json.loads(out)["home"] == str(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("frob",), "no such command 'frob'"),
        (("versio",), "Did you mean 'version'?"),
        (("version", "--bad"), "no such option: --bad"),
        (("config", "check", "--pool-max-size"), "--pool-max-size needs a value"),
        (("--set", "pool", "version"), "--set 'pool' has no value"),
    ],
)
def test_a_wrong_call_exits_2_with_message_and_hint(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    code, out, err = answer(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[0]
    assert err.splitlines()[0].startswith("error: ")
    assert err.splitlines()[1].startswith("hint:  ")
    code, out, err = answer(capsys, "--json", *arguments)
    assert (code, err) == (2, "")
    assert json.loads(out)["error"]["code"] == "usage"
    assert message in json.loads(out)["error"]["message"]


def test_without_a_command_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = answer(capsys)
    assert (code, err) == (2, "")
    assert "version" in out


def list_options() -> dict[str, set[str]]:
    """Return the options of every command, by its path."""
    import typer.main

    found: dict[str, set[str]] = {}

    def visit(command: object, path: str) -> None:
        found[path] = {option for parameter in getattr(command, "params", ()) for option in getattr(parameter, "opts", ())}
        for name, child in getattr(command, "commands", {}).items():
            visit(child, f"{path} {name}")

    visit(typer.main.get_command(build()), "chainstrata")
    return found


def test_no_option_of_a_command_bears_the_flag_of_a_setting() -> None:
    flags = {setting.flag for setting in REGISTRY.values()} - {"--home"}
    assert {path: options & flags for path, options in list_options().items() if options & flags} == {}


def test_every_command_takes_the_global_flags() -> None:
    groups = {path.rpartition(" ")[0] for path in list_options()}
    wanted = {"--config", "--home", "--set", "--json"}
    assert {path: wanted - options for path, options in list_options().items() if path not in groups and not wanted <= options} == {}


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "{'sqlalchemy', 'psycopg', 'psycopg_pool', 'fastapi', 'uvicorn', 'alembic', 'pyarrow', 'jinja2', 'pydantic', 'asyncio'}"
    code = f"import sys; from chainstrata.cli.tree import build; build(); print(sorted({heavy} & sys.modules.keys() - {{'asyncio'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{shlex.quote(sys.executable)} -m chainstrata config show | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_shell_completes_commands_and_settings() -> None:
    def complete(line: str) -> str:
        environment = {
            **os.environ,
            "_CHAINSTRATA_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        command = [str(Path(sys.executable).with_name("chainstrata"))]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "config" in complete("chainstrata co").split()
    assert "pool.max_size=" in complete("chainstrata config show --set pool.max").split()


def test_values_become_plain_without_losing_digits() -> None:
    from datetime import UTC, datetime, timedelta
    from decimal import Decimal

    value = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "amount": Decimal("1.10"),
        "took": timedelta(seconds=1.5),
        "raw": b"\x01\xff",
        "n": (1, None),
    }
    assert to_plain(value) == {"at": "2026-01-02T00:00:00Z", "amount": "1.10", "took": 1.5, "raw": "01ff", "n": [1, None]}
