"""Loaded models behind small interfaces, and the worker processes they live in."""
