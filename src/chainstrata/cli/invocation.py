"""One run of the command: what it was told besides its own arguments, and what follows from that."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainstrata.cli.output import Output
from chainstrata.config import LOG_LEVEL, REGISTRY, Config, load_config
from chainstrata.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from chainstrata.node import Platform


@dataclass(slots=True)
class Invocation:
    """`flags` are keyed by setting; `file` is what `--config` named."""

    file: Path | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    output: Output = field(default_factory=Output)
    config: Config | None = None

    def take(self, *, config: Path | None, home: Path | None, set_: list[str], json: bool) -> None:
        """Add what was given before or after the name of the command; what comes later wins."""
        self.file = config or self.file
        if home is not None:
            self.flags["home"] = home
        self.flags.update(parse_assignment(text) for text in set_)
        self.output.json = self.output.json or json


INVOCATION: ContextVar[Invocation] = ContextVar("chainstrata_invocation")


def output() -> Output:
    """Return where the answer of this command goes."""
    return INVOCATION.get().output


def settings() -> Config:
    """Return the settings this command runs with; raise `ConfigError` if they do not fit."""
    invocation = INVOCATION.get()
    if invocation.config is None:
        invocation.config = load_config(invocation.flags, file=invocation.file)
        _log(invocation.config)
    return invocation.config


def _log(config: Config) -> None:
    """Keep the library's log to itself: what a command has to say is its answer. With log.level=debug it goes to stderr."""
    import logging

    logger = logging.getLogger("chainstrata")
    if config[LOG_LEVEL] == "debug":
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.DEBUG)
    elif not logger.handlers:
        logger.addHandler(logging.NullHandler())


def open_platform() -> "AbstractAsyncContextManager[Platform]":
    """Return the platform of these settings, to be entered, with a pool as small as a command needs."""
    from dataclasses import replace

    from chainstrata.engines.postgres import PoolOptions
    from chainstrata.node import connect

    config = settings()
    return connect(config, pool=replace(PoolOptions.from_config(config), min_size=1))


def parse_assignment(text: str) -> tuple[str, str]:
    """Return key and value of `key=value`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text!r} has no value", hint="Write --set key=value, as in --set pool.max_size=10.")
    return key.strip(), value


def expand_setting_flags(arguments: list[str]) -> list[str]:
    """Turn the flag of any setting, as `--pool-max-size 10`, into `--set pool.max_size=10`; leave all else alone."""
    flags = {setting.flag: setting.key for setting in REGISTRY.values() if setting.key != "home"}
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument == "--":
            return [*expanded, argument, *rest]
        if name not in flags:
            expanded.append(argument)
            continue
        if not equals:
            given = next(rest, None)
            if given is None:
                raise UsageError(f"{name} needs a value", hint=f"Write {name} VALUE; {REGISTRY[flags[name]].doc}")
            value = given
        expanded += ["--set", f"{flags[name]}={value}"]
    return expanded


def complete_assignment(incomplete: str) -> list[tuple[str, str]]:
    """Offer the keys of all settings to the shell."""
    return [(f"{key}=", setting.doc) for key, setting in REGISTRY.items() if key.startswith(incomplete)]
