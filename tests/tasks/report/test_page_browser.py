"""The report in a real browser: its policy lets its own style in, nothing is refused, both colour schemes hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tasks.report.page import write_report
from tests.browser import chromium
from tests.tasks.report_facts import evaluated, feature, gate_facts, score_row, shown, write_lines, write_metrics

pytestmark = pytest.mark.slow


def test_the_page_is_styled_in_light_and_dark_and_the_browser_refuses_nothing(tmp_path: Path) -> None:
    write_lines(tmp_path / "evaluation/scores.jsonl", [score_row(i, float(i % 2), 1.0, "cards") for i in range(9)])
    write_lines(tmp_path / "evaluation/showcase.jsonl", [shown(text="<script>document.title = 'mine'</script>")])
    write_metrics(tmp_path, "gate", gate_facts())
    write_metrics(tmp_path, "evaluate", evaluated())
    write_report(tmp_path, feature())
    with chromium(tmp_path / "profile") as browser:
        seen = []
        for scheme in ("light", "dark"):
            media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
            browser.get((tmp_path / "report.html").as_uri())
            seen.append(browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
            assert browser.find_elements(By.CSS_SELECTOR, "svg .range.better")
        assert seen == ["rgba(255, 255, 255, 1)", "rgba(18, 22, 26, 1)"]
        assert browser.title == "f: Better: the candidate may go live" and browser.get_log("browser") == []
