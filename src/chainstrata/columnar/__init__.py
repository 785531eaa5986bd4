"""Looking after the columnar engine: what each column takes, and what would take less or run faster."""

from chainstrata.columnar.model import ColumnSize, Suggestion
from chainstrata.columnar.runner import advise, report

__all__ = ["ColumnSize", "Suggestion", "advise", "report"]
