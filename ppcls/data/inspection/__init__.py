"""Looking at every image of a dataset before a model does; behind `tools/check_dataset.py`."""
