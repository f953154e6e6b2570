"""Result files of outside tools: trimmed real ones, and (slow, where a tool is on the PATH) a run of each for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ratchet.base_models import resolve_base_model
from ratchet.errors import BadInput, ModelMissing
from ratchet.llm import model_server
from ratchet.settings import Settings
from tasks.safety.outside import read_outside

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples" / "safety"
MODEL = "smollm2-135m-instruct"
GARAK = {"entry_type": "eval", "probe": "encoding.InjectROT13", "detector": "encoding.DecodeMatch", "nones": 1}


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def garak(path: Path, passed: int) -> Path:
    rows = [{"entry_type": "init"}, GARAK | {"passed": passed, "fails": 6 - passed, "total_evaluated": 6}]
    return write(path, "\n".join(json.dumps(row) for row in rows))


def test_garak_counts_what_the_detector_found_of_champion_and_candidate(tmp_path: Path) -> None:
    files = [garak(tmp_path / "a", 6), garak(tmp_path / "b", 4)]
    (suite,) = read_outside(files, "garak")["suites"]
    assert (suite["suite"], suite["items"]) == ("encoding.InjectROT13 / encoding.DecodeMatch", 7)
    assert suite["attack_success"]["champion"]["estimate"] == 0 < suite["attack_success"]["champion"]["high"]
    assert suite["attack_success"]["candidate"]["estimate"] == round(1 / 3, 6)


def test_promptfoo_groups_by_plugin_and_an_error_is_unscored(tmp_path: Path) -> None:
    case = {"metadata": {"pluginId": "pii"}}
    rows = [{"success": True, "failureReason": 0}, {"success": False, "failureReason": 1, "testCase": case}]
    rows.append({"success": False, "failureReason": 2, "error": "timeout", "testCase": case})
    found = read_outside([write(tmp_path / "p", {"results": {"results": rows}})], "promptfoo")["suites"]
    assert [(suite["suite"], suite["attack_success"]["champion"]["estimate"]) for suite in found] == [
        ("promptfoo", 0.0),
        ("pii", 1.0),
    ]
    assert found[1]["attack_success"]["champion"]["unscored"] == 1


def test_inspect_gives_a_score_of_each_scorer(tmp_path: Path) -> None:
    samples = [{"scores": {"includes": {"value": value}}} for value in ("C", "I", "I", "C", None)]
    log = {"status": "success", "eval": {"task": "capitals"}, "samples": samples}
    (suite,) = read_outside([write(tmp_path / "i", log)], "inspect")["suites"]
    assert suite["suite"] == "capitals / includes" and suite["score"]["champion"]["estimate"] == 0.5
    assert (suite["score"]["champion"]["n"], suite["score"]["champion"]["unscored"]) == (4, 1)
    with pytest.raises(BadInput, match="error"):
        read_outside([write(tmp_path / "i", log | {"status": "error"})], "inspect")


def test_lm_eval_gives_each_metric_with_its_error(tmp_path: Path) -> None:
    metrics = {"alias": "t", "exact_match,none": 0.25, "exact_match_stderr,none": 0.25, "bleu,none": 30.0}
    metrics |= {"bleu_stderr,none": "N/A"}
    document = {"results": {"t": metrics}, "n-samples": {"t": {"effective": 4}}}
    exact, bleu = read_outside([write(tmp_path / "l", document)], "lm-eval")["suites"]
    assert exact["score"]["champion"]["low"] > 0 and exact["score"]["champion"]["n"] == 4
    assert (bleu["suite"], bleu["score"]["champion"]["estimate"]) == ("t / bleu", 30.0)
    assert bleu["score"]["champion"]["low"] is None


@pytest.mark.parametrize("form", ["garak", "promptfoo", "inspect", "lm-eval", "other"])
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"results": 3, "entry_type": "eval"}', "\x00 SECRET"])
def test_anything_else_is_refused_without_its_text(tmp_path: Path, form: str, content: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_outside([write(tmp_path / "x", content)], form)
    assert "SECRET" not in str(caught.value)


RUNS: dict[str, tuple[str, list[str], str]] = {
    "inspect": (
        "inspect",
        ["eval", "capitals.py", "--model", f"openai-api/local/{MODEL}", "--log-format", "json", "--log-dir", "out"],
        "out/*.json",
    ),
    "lm-eval": (
        "lm_eval",
        [
            *(
                "--model",
                "local-chat-completions",
                "--tasks",
                "capitals",
                "--include_path",
                ".",
                "--output_path",
                "out",
            ),
            *("--apply_chat_template", "--model_args"),
            f"base_url=URL/v1/chat/completions,model={MODEL},num_concurrent=4",
        ],
        "out/**/results*.json",
    ),
    "promptfoo": ("promptfoo", ["eval", "-c", "promptfooconfig.yaml", "-o", "out.json", "--no-cache"], "out.json"),
    "garak": (
        "garak",
        [
            *("--config", "garak.yaml", "--target_type", "openai.OpenAICompatible", "--target_name", MODEL),
            *("--generator_options", '{"openai": {"OpenAICompatible": {"uri": "URL/v1", "max_tokens": 24}}}'),
            *("--probes", "encoding.InjectROT13", "--report_prefix", "run"),
        ],
        "data/garak/garak_runs/run.report.jsonl",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", RUNS)
def test_the_tool_itself_runs_against_our_model_server(form: str, tmp_path: Path) -> None:
    program, arguments, result = RUNS[form]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on the PATH; docs/safety.md says how it is installed")
    settings = Settings.from_env()
    try:
        model = resolve_base_model(f"embedded:{MODEL}", settings)
    except ModelMissing as error:
        pytest.skip(str(error))
    folder = Path(shutil.copytree(EXAMPLES, tmp_path / "run"))
    with model_server(settings, f"embedded:{MODEL}", model.path) as url:
        config = (folder / "promptfooconfig.yaml").read_text().replace("http://127.0.0.1:8601", url)
        write(folder / "promptfooconfig.yaml", config)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("RATCHET_")}
        environ |= {"LOCAL_BASE_URL": f"{url}/v1", "LOCAL_API_KEY": "none", "OPENAI_API_KEY": "none"}
        environ |= {"OPENAICOMPATIBLE_API_KEY": "none", "XDG_DATA_HOME": str(folder / "data")}
        environ |= {
            "PROMPTFOO_CONFIG_DIR": str(folder),
            "PROMPTFOO_DISABLE_TELEMETRY": "1",
            "PROMPTFOO_DISABLE_UPDATE": "1",
        }
        command = [program, *(argument.replace("URL", url) for argument in arguments)]
        subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, timeout=400)
    (file,) = folder.glob(result)
    suites = read_outside([file], form)["suites"]
    assert suites and all(suite["items"] >= 2 for suite in suites)
