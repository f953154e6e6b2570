"""A scorer by DeepEval, in an environment of its own: exact match with the expected text, without an LLM.

Another metric of DeepEval takes its place in one line; those that ask an LLM need its address and key. feature.yaml:

    metrics:
      - {command: [.venv-deepeval/bin/python, infra/scorers/deepeval/scorer.py], as: deepeval_exact, timeout_s: 300}
"""

import contextlib
import json
import os
import sys

os.environ.update(DEEPEVAL_TELEMETRY_OPT_OUT="1", DEEPEVAL_UPDATE_WARNING_OPT_IN="0", DEEPEVAL_DISABLE_DOTENV="1")

from deepeval.metrics import ExactMatchMetric
from deepeval.test_case import LLMTestCase


def main() -> None:
    """Read an item a line from standard input, write its score a line to standard output; what DeepEval says goes
    to standard error."""
    metric = ExactMatchMetric()
    for line in sys.stdin:
        item, score = json.loads(line), None
        if item["expected"] is not None:
            asked = item["messages"][-1]["content"] if item["messages"] else ""
            case = LLMTestCase(input=asked, actual_output=item["output"], expected_output=item["expected"])
            with contextlib.redirect_stdout(sys.stderr):
                score = metric.measure(case, _show_indicator=False)
        print(json.dumps({"index": item["index"], "score": score}), flush=True)


if __name__ == "__main__":
    main()
