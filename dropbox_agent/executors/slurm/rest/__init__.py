"""The way to a cluster by slurmrestd, for an agent that is no submit host.

``client`` asks, ``token`` says as whom, ``versions`` which version of its API is spoken. ``description`` writes down
a job for it (``texts`` for v0.0.38, ``shapes`` for v0.0.40 and later); ``answers`` reads what it says.
"""

from dropbox_agent.executors.slurm.rest.client import SlurmRest
from dropbox_agent.executors.slurm.rest.token import Token

__all__ = ["SlurmRest", "Token"]
