"""Shows environments as pages in a browser: `kubectl spot ui`.

Apart from the commands that print tables, because it needs libraries of its own: the extra `ui` of the Python package.
"""
