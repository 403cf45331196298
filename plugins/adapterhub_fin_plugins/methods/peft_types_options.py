"""Options of `peft:TYPE`: the fields of PEFT's own configuration, which its class checks."""

from __future__ import annotations

from pydantic import ConfigDict

from adapterhub_fin.plugin.options import Options


class PeftTypeOptions(Options):
    """Any field of PEFT's configuration of that type, such as `r` or `target_modules`."""

    model_config = ConfigDict(extra="allow")
