"""The recipes, as far as they can be held to what they promise where no image can be built."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from gte_pg.cli import main

ROOT = Path(__file__).parents[2]

FOLDER = ROOT / "docker"

DOCKERFILES = sorted(FOLDER.glob("*/Dockerfile"))

COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

README = (FOLDER / "README.md").read_text(encoding="utf-8")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the instructions of a recipe, each with its arguments on one line."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def arguments(dockerfile: Path, instruction: str) -> list[str]:
    return [rest for word, rest in instructions(dockerfile) if word == instruction]


def commands() -> list[list[str]]:
    """Return every gte-pg command that the recipes run or the README tells to run."""
    (entry,) = map(json.loads, arguments(FOLDER / "worker" / "Dockerfile", "ENTRYPOINT"))
    (command,) = map(json.loads, arguments(FOLDER / "worker" / "Dockerfile", "CMD"))
    assert entry == ["gte-pg"]
    told = re.findall(r"^docker compose (?:run --rm worker|exec worker gte-pg) (.*)", README, re.M)
    return [command, SERVICES["serve"]["command"], *(line.split() for line in told)]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_the_linter_has_nothing_to_say(dockerfile: Path) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_images_are_pinned_checked_and_without_root(dockerfile: Path) -> None:
    for image in arguments(dockerfile, "FROM"):
        assert re.match(r"[a-z]+:\d+\.\d+(\.\d+)?-[a-z-]+", image), image
    assert int(arguments(dockerfile, "USER")[-1]) > 0
    assert len(arguments(dockerfile, "HEALTHCHECK")) == 1


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    dockerfile = FOLDER / "worker" / "Dockerfile"
    ignored, *let_through = [
        line
        for line in dockerfile.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    copied = {
        source
        for copy in arguments(dockerfile, "COPY")
        if not copy.startswith("--from")
        for source in copy.split()[:-1]
    }
    for source in copied:
        assert (ROOT / source).exists()
        assert any(fnmatch(source, f"{pattern[1:]}*") for pattern in let_through), source


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add", "network_mode", "pid"} & service.keys()
    assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_from_files_and_volumes_are_declared(name: str) -> None:
    service = SERVICES[name]
    assert set(service["secrets"]) <= COMPOSE["secrets"].keys()
    for variable, value in service["environment"].items():
        assert value.startswith("/run/secrets/") or not re.search(r"PASS|TOKEN|SECRET", variable)
        if value.startswith("/run/secrets/"):
            assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert "secrets/" in (FOLDER / ".gitignore").read_text(encoding="utf-8")
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("secrets/")
    for volume in service["volumes"]:
        assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_what_compose_builds_is_there() -> None:
    assert (FOLDER / SERVICES["postgres"]["build"] / "Dockerfile").exists()
    build = SERVICES["worker"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).resolve() in DOCKERFILES
    assert SERVICES["serve"]["image"] == SERVICES["worker"]["image"]
    (volume,) = arguments(FOLDER / "worker" / "Dockerfile", "VOLUME")
    assert SERVICES["worker"]["volumes"] == [f"models:{volume}"]


def test_the_pinned_packages_are_those_that_gte_pg_asks_for() -> None:
    text = (FOLDER / "worker" / "requirements.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["serve"]]:
        asked = Requirement(line)
        assert asked.specifier.contains(pinned[asked.name]), line


def test_every_command_exists() -> None:
    for name, *options in commands():
        context = main.commands[name].make_context(
            name, [*options, "--dsn", "nowhere"], resilient_parsing=True
        )
        assert not context.args
        known = {option for parameter in main.commands[name].params for option in parameter.opts}
        assert {option for option in options if option.startswith("--")} <= known


def test_the_secrets_are_made_as_the_readme_says(tmp_path: Path) -> None:
    block = next(iter(re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)))
    lines = [line for line in block.splitlines() if not line.startswith("docker ")]
    subprocess.run(["bash", "-euc", "\n".join(lines)], cwd=tmp_path, check=True)
    made = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == COMPOSE["secrets"].keys()
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    services = configparser.ConfigParser()
    services.read(made["pg_service.conf"])
    name = SERVICES["worker"]["environment"]["GTE_PG_DSN"].removeprefix("service=")
    assert services[name]["host"] in SERVICES
    assert services[name]["password"] == made["password"].read_text(encoding="utf-8").strip()
    assert len(services[name]["password"]) == 48
