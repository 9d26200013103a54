"""Aspect buckets, by the names that learning knows them by; the arithmetic is the materials', which a laptop shares."""

from atelier_materials.dataset.buckets import Shape, assign_shapes, describe_shapes, list_shapes, nearest_shape

__all__ = ["Shape", "assign_shapes", "describe_shapes", "list_shapes", "nearest_shape"]
