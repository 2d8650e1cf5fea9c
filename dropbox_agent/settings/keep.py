"""How long what is over is kept."""

from __future__ import annotations

from pydantic import Field

from dropbox_agent.settings.kinds import Number, Section


class Keep(Section):
    """How long what is over is kept; null: for ever. What the ledger knows is always kept."""

    archive_days: Number | None = Field(
        None, description="After how many days a manifest that is done is moved into archive/ in its inbox."
    )
    run_folder_days: Number | None = Field(
        None, description="After how many days the run folder of a job that succeeded is removed, with its logs."
    )
    spool_days: Number | None = Field(
        None, description="After how many days the agent's own copy of a manifest that is done is removed."
    )
