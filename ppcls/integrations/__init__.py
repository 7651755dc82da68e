"""Our models inside other packages. Each module here works by being imported."""
