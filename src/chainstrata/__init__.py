"""ChainStrata: the data tier of a blockchain product. Declare a dataset once; everything it needs follows from it."""

__version__ = "0.1.0"

__all__ = ["__version__"]
