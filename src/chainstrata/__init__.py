"""ChainStrata: the data tier of a blockchain product. Declare a dataset once; everything it needs follows from it.

    async with chainstrata.connect() as platform:
        status = await platform.status()

What a pack declares with is in `chainstrata.model`; its main names are here as well.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainstrata.config import Config, load_config
    from chainstrata.errors import ChainStrataError
    from chainstrata.model import CachePolicy, Catalog, Dataset, Lifecycle, Mirror, Pack, Rollup
    from chainstrata.node import Platform, connect

__version__ = "0.1.0"

__all__ = [
    "CachePolicy",
    "Catalog",
    "ChainStrataError",
    "Config",
    "Dataset",
    "Lifecycle",
    "Mirror",
    "Pack",
    "Platform",
    "Rollup",
    "__version__",
    "connect",
    "load_config",
]

# Imported when first used: `chainstrata --help` needs none of them, and they take half a second.
_HOMES = {
    "chainstrata.config": ("Config", "load_config"),
    "chainstrata.errors": ("ChainStrataError",),
    "chainstrata.model": ("CachePolicy", "Catalog", "Dataset", "Lifecycle", "Mirror", "Pack", "Rollup"),
    "chainstrata.node": ("Platform", "connect"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
