"""An emulator of Pinecone's REST API, version 2026-07, by its published definition, its documentation and its SDK.

It is not Pinecone's code. It imports nothing of storycore and nothing of the adapter: whoever is proved on it is not
proved on his own reading.
"""
