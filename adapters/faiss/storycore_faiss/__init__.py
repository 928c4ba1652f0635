"""The vector index of storycore on FAISS, with SQLite as the truth."""
