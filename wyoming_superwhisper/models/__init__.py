"""The models: catalogue, store, download, and the demo models with the scripts that make them."""
