"""What can be checked of infra/ without a Docker daemon: the text of the files, and what Ratchet makes of it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from ratchet import git
from ratchet.settings import KEYS, Settings

INFRA = Path(__file__).resolve().parents[2] / "infra"
COMPOSE = INFRA / "compose.yaml"
TEXT = COMPOSE.read_text(encoding="utf-8")
DOCUMENT = yaml.safe_load(TEXT)
SERVICES = DOCUMENT["services"]
PUBLISHED = {"gateway", "prefect"}
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY$|AUTH_STRING")
REQUIRED = re.compile(r"\$\{([A-Z_]+):\?set \1 in infra/\.env\}")
TAG = re.compile(r"[a-z/]+:\d+\.\d+[.\w-]*")
each_service = pytest.mark.parametrize("name", SERVICES)


def environment(name):
    return SERVICES[name].get("environment", {})


def mounts(name):
    """Target -> (volume, is read-only)."""
    parts = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    return {part[1]: (part[0], part[2:] == ["ro"]) for part in parts}


def port_of(name):
    command = [str(word) for word in SERVICES[name]["command"]]
    return int(command[command.index("--port") + 1])


def test_the_services_are_those_of_the_design():
    assert set(SERVICES) == {"postgres", "prefect", "gateway", "verifier", "modelserver", "worker"}


@each_service
def test_a_service_has_a_healthcheck(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD" and {"interval", "timeout", "retries", "start_period"} <= set(check)


@each_service
def test_a_service_has_no_privilege(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert int(service["user"].split(":")[0]) > 0
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "env_file"} & set(service)


@each_service
def test_only_named_volumes_are_mounted(name):
    assert {volume for volume, _ in mounts(name).values()} <= set(DOCUMENT["volumes"])


@each_service
def test_ports_are_published_on_loopback_and_only_where_meant(name):
    ports = SERVICES[name].get("ports", [])
    assert bool(ports) is (name in PUBLISHED)
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


@each_service
def test_a_secret_comes_from_outside_and_stops_the_start_where_it_is_missing(name):
    secrets = {key: value for key, value in environment(name).items() if SECRET_NAME.search(key)}
    assert [key for key, value in secrets.items() if not REQUIRED.fullmatch(value)] == []


@pytest.mark.parametrize("path", sorted(p for p in INFRA.iterdir() if p.is_file() and p.name != ".env"), ids=str)
def test_no_file_holds_what_looks_like_a_secret(path):
    assert not git.SECRETS.search(path.read_bytes())
    assert not re.search(r"\b[0-9a-f]{32,}\b", path.read_text(encoding="utf-8"))


@each_service
def test_settings_are_known_to_ratchet_and_accepted_by_it(name):
    ours = {key: str(value) for key, value in environment(name).items() if key.startswith("RATCHET_")}
    assert set(ours) <= set(KEYS)
    Settings.from_env(ours | {"RATCHET_REPO": "/srv/ratchet", "RATCHET_HOME": "/var/lib/ratchet"})


@each_service
def test_telemetry_is_off(name):
    if name != "postgres":
        assert environment(name)["DO_NOT_TRACK"] == "1"
        assert environment(name)["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


@each_service
def test_images_are_pinned_by_version(name):
    assert TAG.fullmatch(SERVICES[name]["image"])
    assert name == "postgres" or SERVICES[name]["pull_policy"] == "never"


def test_only_what_listens_for_other_containers_may_listen_beyond_loopback():
    allowed = {name for name in SERVICES if environment(name).get("RATCHET_ALLOW_REMOTE") == "1"}
    assert allowed == {"gateway", "modelserver", "verifier"}


@each_service
def test_an_address_names_a_service_its_port_and_a_network_that_both_share(name):
    for key, value in environment(name).items():
        host = urlsplit(str(value)).hostname if key.endswith("_URL") and "$" not in str(value) else None
        if host and host != "127.0.0.1":
            assert urlsplit(value).port == port_of(host)
            assert set(SERVICES[name]["networks"]) & set(SERVICES[host]["networks"])


def test_the_verifiers_state_is_mounted_in_the_verifier_only():
    own = {mounts("verifier")[f"/var/lib/ratchet/{folder}"][0] for folder in ("verifier", "secrets")}
    assert own == {"verifier", "enrolment"}
    others = {volume for name in SERVICES if name != "verifier" for volume, _ in mounts(name).values()}
    assert not own & others


def test_only_the_verifier_can_replace_the_trusted_key():
    users = {
        name: mounts(name)["/var/lib/ratchet/trust"] for name in SERVICES if "/var/lib/ratchet/trust" in mounts(name)
    }
    assert users == {"verifier": ("trust", False), "worker": ("trust", True)}


def test_the_mounts_are_the_folders_that_ratchet_uses():
    settings = Settings.from_env({"RATCHET_REPO": "/srv/ratchet", "RATCHET_HOME": "/var/lib/ratchet"})
    used = {settings.home, settings.repo, settings.releases_dir, settings.runs_dir, settings.secrets_dir}
    used |= {settings.trust_dir, settings.verifier_dir}
    assert {Path(target) for name in SERVICES if name != "postgres" for target in mounts(name)} == used


@pytest.mark.parametrize("name", ["postgres", "modelserver", "verifier"])
def test_what_needs_no_way_out_has_none(name):
    assert all((DOCUMENT["networks"][network] or {}).get("internal") for network in SERVICES[name]["networks"])


def test_the_gateway_reaches_neither_prefect_nor_the_verifier():
    for name in ("prefect", "postgres", "verifier"):
        assert not set(SERVICES["gateway"]["networks"]) & set(SERVICES[name]["networks"])


def test_the_example_lists_every_variable_and_gives_no_secret():
    used = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    lines = [line for line in (INFRA / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    given = dict(line.split("=", 1) for line in lines)
    assert set(given) == used
    assert all(given[name] == "" for name in REQUIRED.findall(TEXT))


def test_the_filled_in_settings_stay_out_of_git_and_out_of_the_image():
    assert ".env" in (INFRA / ".gitignore").read_text().splitlines()
    taken = [line for line in (INFRA / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert taken[0] == "*" and not [line for line in taken[1:] if "infra" in line or ".git" in line or ".env" in line]


def test_the_image_is_pinned_takes_the_lock_as_it_is_and_runs_as_nobody_in_particular():
    text = (INFRA / "Dockerfile").read_text()
    assert [TAG.fullmatch(image) for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE)] != [None]
    assert all("--no-deps" in line for line in text.splitlines() if "pip install" in line)
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users == [SERVICES["worker"]["user"]]
    assert text.index("USER ") < text.index("python -m modelserver.weights")


def test_every_package_is_copied_into_the_image():
    taken = (INFRA / "Dockerfile.dockerignore").read_text()
    pyproject = (INFRA.parent / "pyproject.toml").read_text()
    packages = re.search(r"^packages = \[([^\]]*cli[^\]]*)\]", pyproject, re.MULTILINE)
    assert packages is not None
    for package in re.findall(r'"([\w.]+)"', packages.group(1)):
        assert f"!{package.replace('.', '/')}/*.py" in taken


def test_every_template_of_a_report_is_copied_into_the_image():
    taken = (INFRA / "Dockerfile.dockerignore").read_text()
    templates = sorted((INFRA.parent / "tasks").rglob("*.html.j2"))
    assert len(templates) >= 3
    for template in templates:
        assert f"!{template.parent.relative_to(INFRA.parent)}/*.html.j2" in taken


def test_yamllint_finds_nothing():
    command = [sys.executable, "-m", "yamllint", "--strict", "-c", str(INFRA / ".yamllint"), str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_docker_compose_accepts_the_file(tmp_path):
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no `docker compose` on this machine: compose.yaml is parsed by the other tests only")
    filled = "".join(f"{name}=x\n" for name in sorted(set(REQUIRED.findall(TEXT))))
    (tmp_path / "env").write_text(filled)
    command = [docker, "compose", "--env-file", str(tmp_path / "env"), "-f", str(COMPOSE), "config", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
