"""The families. Importing this package registers them.

`<family>.py` has the model and its variants, `<family>_<part>.py` what it is made of or becomes.
"""

from ppcls.arch.backbone import dsnet, dwnet, san, transxnet, volo

__all__ = ["dsnet", "dwnet", "san", "transxnet", "volo"]
