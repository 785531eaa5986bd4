"""pyarrow.compute as type checkers can bear it: it makes its functions when it is imported, so they see none of them."""

from typing import Any

import pyarrow.compute

pc: Any = pyarrow.compute
