"""``build-data``: from photos to a subject-augmented dataset, one step per file."""

from fcbench.build.pipeline import BuildCounts, build_data, build_shards

__all__ = ["BuildCounts", "build_data", "build_shards"]
