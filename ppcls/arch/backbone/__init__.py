"""The families, one file each. Importing this package registers them."""

from ppcls.arch.backbone import dsnet

__all__ = ["dsnet"]
