"""`python -m chainstrata` is the command `chainstrata`."""

import sys

from chainstrata.cli import main

if __name__ == "__main__":
    sys.exit(main())
