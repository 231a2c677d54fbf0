"""Transforms and networks that bundles name by dotted path: torch, MONAI and numpy only.

Both environments import this room (wetread's and MONAI Label's), so it knows nothing of the rest.
"""
