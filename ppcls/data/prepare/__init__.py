"""From what users have to what datasets read: image files, lists and a map of labels.

out what cannot be used, splits and writes.
"""

from ppcls.data.prepare.csv_table import CsvOptions, prepare_csv
from ppcls.data.prepare.digits import prepare_digits
from ppcls.data.prepare.folder import prepare_folder
from ppcls.data.prepare.idx_files import prepare_idx
from ppcls.data.prepare.lists import ListOptions, Prepared
from ppcls.data.prepare.splitting import stratified_split

__all__ = [
    "CsvOptions",
    "ListOptions",
    "Prepared",
    "prepare_csv",
    "prepare_digits",
    "prepare_folder",
    "prepare_idx",
    "stratified_split",
]
