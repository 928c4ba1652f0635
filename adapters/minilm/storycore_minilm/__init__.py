"""Sentence embeddings for storycore without any service: MiniLM through onnxruntime."""
