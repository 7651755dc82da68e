"""LoGoClas: image classification with backbones that join local and global modelling.

Importing this package is free: no Paddle, no OpenCV, no side effects. Import the room you need
(`ppcls.arch`, `ppcls.data.transform`, `ppcls.inference`, ...).
"""

__version__ = "0.1.0"
