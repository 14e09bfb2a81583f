"""A local voice assistant server and satellite for the Wyoming protocol."""

import os

__version__ = "0.1.0"

# onnxruntime reports on its use to its maker, over HTTPS, unless it is told not to before it is loaded. Said here, so
# that it holds for whatever of this package, its tools included, comes to load it, and for every process it starts.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
