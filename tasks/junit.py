"""JUnit XML, as GitHub, GitLab and Jenkins read it: one suite of a feature's cases or checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree  # only written here, never read

from ratchet.files import write_whole
from tasks.cases import CaseResult

NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TAGS = {"failed": "failure", "error": "error", "xfailed": "skipped"}


def write_junit(path: Path, suites: Mapping[str, Sequence[CaseResult]]) -> None:
    """Write the suites by name. A known failure is `skipped` with its reason."""
    root = ElementTree.Element("testsuites")
    for name, results in suites.items():
        counts = {
            "tests": len(results),
            "failures": sum(result.outcome == "failed" for result in results),
            "errors": sum(result.outcome == "error" for result in results),
            "skipped": sum(result.outcome == "xfailed" for result in results),
        }
        suite = ElementTree.SubElement(root, "testsuite", {"name": name} | {k: str(v) for k, v in counts.items()})
        for result in results:
            named = {"classname": name, "name": _plain(result.name), "time": f"{result.seconds:.3f}"}
            case = ElementTree.SubElement(suite, "testcase", named)
            if tag := TAGS.get(result.outcome):
                ElementTree.SubElement(case, tag, message=_plain(result.reason))
    write_whole(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _plain(text: str) -> str:
    return NOT_IN_XML.sub("�", text)
