"""Layers: the same port in, the same port out. Checks come first, then what a profile asks for."""
