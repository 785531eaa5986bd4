"""Tools of the repository, not of the product: the environment, the locks, the generated documentation."""
