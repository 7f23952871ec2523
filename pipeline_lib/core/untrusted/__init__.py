"""Checks of what strangers give: names, texts, files, YAML, addresses of bundles."""
