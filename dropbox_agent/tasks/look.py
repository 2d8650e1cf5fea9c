"""Look whether a service can be used, as a process of its own, given its name and the JSON of how it is reached.

It prints ``{"failed": sentence or null}``. It reads only; what would be written with is looked for, and not used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx

from dropbox_agent.errors import TaskFailed
from dropbox_agent.model import CodeOceanAccess, DocDbAccess
from dropbox_agent.tasks import code_ocean, metadata_service, update_docdb_record
from dropbox_agent.tasks.service import Service

ANSWER_SECONDS = 10.0
TRIES = 2
NOBODY = "dropbox-agent doctor"
"""What is looked for, and is not there."""


def at_code_ocean(given: Any) -> None:
    """Search for an asset that is not there: needs the token and nothing else."""
    access = CodeOceanAccess.model_validate(given)
    service = _quick(code_ocean.service(access, code_ocean.token(access)))
    page = service.ask("POST", "data_assets/search", value={"query": f'name:"{NOBODY}"', "limit": 1})
    if not isinstance(page, dict) or not isinstance(page.get("results"), list):
        raise TaskFailed(f"{service.name} answered a search with something that is not Code Ocean's.")


def at_docdb(given: Any) -> None:
    """Search for a record that is not there, and see that writing could be signed."""
    access = DocDbAccess.model_validate(given)
    service = _quick(update_docdb_record.service(access))
    update_docdb_record.records(service, NOBODY, "_id")
    update_docdb_record.signed(httpx.Request("POST", f"{service.base}update_one", content=b"{}"), access)


def at_metadata_service(given: Any) -> None:
    """Ask for the names of the projects: whatever else answers at an address, it has none."""
    service = _quick(metadata_service.service(str(given)))
    names = service.ask("GET", "project_names")
    if not isinstance(names, list):
        raise TaskFailed(f"{service.name} answered with something that is no list of projects.")


LOOKS: Mapping[str, Callable[[Any], None]] = {
    "codeocean": at_code_ocean,
    "docdb": at_docdb,
    "metadata": at_metadata_service,
}
"""Section of agent.yaml -> what looks at its service. Each raises TaskFailed."""


def _quick(service: Service) -> Service:
    return replace(service, answer_seconds=ANSWER_SECONDS, tries=TRIES)


def look(section: str, given: Any) -> dict[str, Any]:
    """Return what was found."""
    try:
        LOOKS[section](given)
    except TaskFailed as failed:
        return {"failed": str(failed)}
    return {"failed": None}


def main(argv: Sequence[str]) -> int:
    """Print what was found."""
    print(json.dumps(look(argv[0], json.loads(argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
