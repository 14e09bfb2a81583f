"""Typed settings, their loader and the commented default files."""
