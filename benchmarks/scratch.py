"""A scratch clone of this repository with state, ports and parts of its own, for benchmarks and end-to-end tests."""

from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.services import TELEMETRY_OFF, environment, running
from ratchet.settings import Settings

REPO = Path(__file__).resolve().parent.parent
IDENTITY = {
    "GIT_AUTHOR_NAME": "scratch",
    "GIT_AUTHOR_EMAIL": "scratch@localhost",
    "GIT_COMMITTER_NAME": "scratch",
    "GIT_COMMITTER_EMAIL": "scratch@localhost",
}


class Clone:
    """A committed copy of the working tree in a folder of its own, and the settings to run it with."""

    def __init__(self, folder: Path) -> None:
        """Copy what git tracks or would track, and commit it as one commit."""
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=REPO, capture_output=True, text=True, check=True
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (REPO / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPO / name, folder / name)
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("RATCHET_", "PREFECT_", "GIT_"))},
            **IDENTITY,
            **TELEMETRY_OFF,
            **{name: f"http://127.0.0.1:{free_port()}{path}" for name, path in _ADDRESSES.items()},
            "RATCHET_REPO": str(folder),
            "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""),
        }
        if "RATCHET_CACHE" in os.environ:
            self.environ["RATCHET_CACHE"] = os.environ["RATCHET_CACHE"]
        self.git("init", "-q", "-b", "main")
        self.commit("a copy of the working tree")

    def at(self, folder: Path) -> Clone:
        """The same addresses and environment on another clone that is there already."""
        other = copy.copy(self)
        other.folder, other.environ = folder, {**self.environ, "RATCHET_REPO": str(folder)}
        return other

    @property
    def settings(self) -> Settings:
        """The settings of this clone."""
        return Settings.from_env(self.environ)

    def git(self, *arguments: str) -> str:
        """Run git in the clone."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        """Commit everything in the clone."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def run(self, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; with `check`, its output is shown when it fails."""
        environ = {**self.environ, **more}
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def ratchet(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the `ratchet` command in the clone."""
        return self.run(sys.executable, "-m", "cli.main", *arguments, check=check)

    def ratchet_json(self, *arguments: str) -> Any:
        """Run a `ratchet` command that prints facts."""
        return json.loads(self.ratchet(*arguments, "--json").stdout)

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run DVC in the clone, as a user does who keeps to the bundled data: stages start their own model server."""
        own = {k: v for k, v in self.environ.items() if k != "RATCHET_MODELSERVER_URL"}
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=own, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(
                f"dvc {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done

    def set_params(self, changes: Mapping[str, Any]) -> None:
        """Change keys of params.yaml, as `tune.sft.epochs`."""
        import yaml

        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            section = params
            for parent in parents:
                section = section[parent]
            section[last] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False, default_flow_style=None, width=200), encoding="utf-8")

    @contextmanager
    def up(self, log: list[str] | None = None) -> Iterator[dict[str, subprocess.Popen[str]]]:
        """Run the clone's parts for the block."""
        lines = log if log is not None else []
        settings = self.settings
        environ = {**environment(settings), **self.environ, "PREFECT_HOME": str(settings.home / "prefect")}
        with running(settings, with_schedules=False, say=lines.append, log=lines.append, environ=environ) as parts:
            yield parts


_ADDRESSES = {
    "RATCHET_GATEWAY_URL": "",
    "RATCHET_MODELSERVER_URL": "",
    "RATCHET_VERIFIER_URL": "",
    "RATCHET_PAGES_URL": "",
    "PREFECT_API_URL": "/api",
}


def free_port() -> int:
    """A loopback port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
