"""Read the job types: a folder with one YAML file for each."""

from dropbox_agent.presets.folder import load_folder

__all__ = ["load_folder"]
