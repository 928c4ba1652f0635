"""The blobs of storycore as plain files."""
