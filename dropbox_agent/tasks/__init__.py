"""The built-in tasks, one file each, run on a node: ``python -m dropbox_agent.tasks NAME SETTINGS.json``."""
