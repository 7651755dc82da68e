"""Necks: what turns feature levels into other feature levels. Importing registers them."""
