"""The families, one file each. Importing this package registers them."""

from ppcls.arch.backbone import dsnet, dwnet, san, transxnet, volo

__all__ = ["dsnet", "dwnet", "san", "transxnet", "volo"]
