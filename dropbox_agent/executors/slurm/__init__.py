"""Run attempts on a Slurm cluster: one Slurm job each, named by the attempt's key.

``executor`` hands over and looks, ``judging`` concludes, ``pace`` says how often Slurm is asked. ``jobs`` is what a
way to a cluster is asked and answers, ``commands`` the way by sbatch and squeue, ``rest`` the way by slurmrestd;
``refusals`` tells why Slurm did not take a job; ``states`` puts what it shows into sentences.
"""

from dropbox_agent.executors.slurm.commands import SlurmCommands
from dropbox_agent.executors.slurm.executor import Asked, SlurmExecutor
from dropbox_agent.executors.slurm.jobs import Cluster, JobRequest, SlurmJob, Unanswered
from dropbox_agent.executors.slurm.rest import SlurmRest, Token

__all__ = [
    "Asked",
    "Cluster",
    "JobRequest",
    "SlurmCommands",
    "SlurmExecutor",
    "SlurmJob",
    "SlurmRest",
    "Token",
    "Unanswered",
]
