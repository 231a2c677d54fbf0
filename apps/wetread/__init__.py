"""wetread: a preliminary reading of medical images for the PACS."""

__version__ = "0.1.0"
