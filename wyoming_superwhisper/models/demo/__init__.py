"""The demo models: small real ones, the domain they are for, and the scripts that make them."""
