"""A local voice assistant server and satellite for the Wyoming protocol."""

__version__ = "0.1.0"
