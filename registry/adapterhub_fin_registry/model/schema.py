"""Generate the manifest's JSON schema, for readers in any language.

`python -m adapterhub_fin_registry.model.schema` writes it again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from adapterhub_fin_registry.model.manifest import Manifest

PATH: Final = Path(__file__).with_name("manifest.schema.json")


def schema_text() -> str:
    """Return the schema as it is stored in `manifest.schema.json`."""
    schema = Manifest.model_json_schema(mode="serialization")
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(schema_text(), encoding="utf-8", newline="\n")
