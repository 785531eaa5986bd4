"""Sets of whole numbers that lie close together, such as those of entities, as bits."""

from typing import Any, Final

import numpy as np

from chainstrata.ingest.record import Array

_BITS: Final = 16
_SIZE: Final = 1 << _BITS
MOST_PAGES: Final = 4096


class Numbers:
    """A set of whole numbers, a page of bits for neighbours. Beyond so many pages it forgets all: it only spares questions."""

    def __init__(self) -> None:
        self._pages: dict[int, Array] = {}

    def add(self, column: Any) -> None:
        """Add the numbers of an Arrow column; NULLs are left out."""
        for page, inside in _by_page(column):
            if page not in self._pages:
                if len(self._pages) >= MOST_PAGES:
                    self._pages.clear()
                self._pages[page] = np.zeros(_SIZE, dtype=bool)
            self._pages[page][inside] = True

    def has_all(self, column: Any) -> bool:
        """Whether every number of an Arrow column is in it."""
        return all(page in self._pages and bool(self._pages[page][inside].all()) for page, inside in _by_page(column))


def _by_page(column: Any) -> list[tuple[int, Array]]:
    values = (column.drop_null() if column.null_count else column).to_numpy().astype(np.int64)
    pages = values >> _BITS
    return [(int(page), values[pages == page] & (_SIZE - 1)) for page in np.unique(pages)]
