"""One data layer for Python applications."""
