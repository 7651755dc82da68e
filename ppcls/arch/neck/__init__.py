"""Necks: what turns feature levels into other feature levels. Importing registers them."""

from ppcls.arch.neck.ds_fpn import DSFPN

__all__ = ["DSFPN"]
