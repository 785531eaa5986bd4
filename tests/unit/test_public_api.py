"""What is exported is explicit, and exists; all else is private."""

import ast
import importlib
import re

import pytest

import chainstrata
from tools.tree import ROOT, list_python

PACKAGES = sorted(
    ".".join(path.parent.parts[1:]) for path in list_python() if path.name == "__init__.py" and path.parts[:2] == ("src", "chainstrata")
)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_offers_names_lists_them(package: str) -> None:
    source = (ROOT / "src" / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    body = ast.parse(source).body
    offers = [
        node for node in body if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    module = importlib.import_module(package)
    assert not offers or hasattr(module, "__all__"), f"{package} offers names without __all__"
    assert module.__doc__, f"{package} does not say what it is"


@pytest.mark.parametrize("package", PACKAGES)
def test_exported_names_exist(package: str) -> None:
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []
    assert [name for name in names if name.startswith("_") and name != "__version__"] == []


def test_the_version_is_one_that_installers_understand() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", chainstrata.__version__)
