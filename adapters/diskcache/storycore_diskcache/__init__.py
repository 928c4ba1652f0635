"""The cache of storycore on disk, through diskcache."""
