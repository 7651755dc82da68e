"""Data: datasets, transforms, batch transforms, samplers and the loader; import the one you need."""
