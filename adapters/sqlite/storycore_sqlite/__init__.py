"""Entities and events of storycore in one SQLite file."""
