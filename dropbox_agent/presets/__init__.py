"""Read the job types: a folder with one YAML file for each, or an AWS Parameter Store; copy between the two."""

from dropbox_agent.presets.exchange import Difference, differences, pull, push
from dropbox_agent.presets.folder import load_folder
from dropbox_agent.presets.store import Parameter, Store, load_parameters, to_keep

__all__ = [
    "Difference",
    "Parameter",
    "Store",
    "differences",
    "load_folder",
    "load_parameters",
    "pull",
    "push",
    "to_keep",
]
