"""What a metadata service on loopback knows, and how it answers."""

from __future__ import annotations

import json
from typing import Any

from http_server import Reply, Request

FUNDER = {
    "name": "Allen Institute",
    "abbreviation": "AI",
    "registry": "Research Organization Registry (ROR)",
    "registry_identifier": "03cpe7c52",
}
AXES = [("AP", "Posterior_to_anterior"), ("ML", "Left_to_right"), ("SI", "Superior_to_inferior")]
COORDINATES = {
    "object_type": "Coordinate system",
    "name": "BREGMA_ARI",
    "origin": "Bregma",
    "axes": [{"object_type": "Axis", "name": name, "direction": direction} for name, direction in AXES],
    "axis_unit": "millimeter",
}
INSTRUMENT = {
    "object_type": "Instrument",
    "schema_version": "2.2.8",
    "instrument_id": "323",
    "modification_date": "2026-01-02",
    "modalities": [{"name": "Extracellular electrophysiology", "abbreviation": "ecephys"}],
    "coordinate_system": COORDINATES,
    "components": [{"object_type": "Computer", "name": "rig computer"}],
}
"""As much as the schema asks for."""
KNOWN: dict[str, Any] = {
    "instrument/323": [INSTRUMENT],
    "subject/0012": {"subject_id": "0012", "sex": "Female"},
    "procedures/0012": {"subject_id": "0012", "subject_procedures": []},
    "funding/Ephys%20Platform": [{"object_type": "Funding", "funder": FUNDER, "grant_number": None, "fundee": None}],
    "investigators/Ephys%20Platform": [{"object_type": "Person", "name": "Ada Lovelace", "registry_identifier": None}],
}


def answer(request: Request) -> Reply:
    """Answer as version 2 of its API does."""
    path = request.path.removeprefix("/api/v2/").partition("?")[0].rstrip("/")
    if path not in KNOWN:
        return Reply(404, b'{"detail": "Not found"}')
    # Its code for what its own schema objects to, with the answer all the same.
    status = 400 if path.startswith(("procedures", "instrument")) else 200
    return Reply(status, json.dumps(KNOWN[path]).encode(), headers={"X-Error-Message": "[]"} if status == 400 else {})
