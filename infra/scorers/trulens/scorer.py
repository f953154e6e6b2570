"""A scorer by TruLens, in an environment of its own: relevance, by a judge at an OpenAI-compatible address.

It is a judge, so calibrate it before anybody believes it (`ratchet judge`). A key is read from the file that a third
argument names. feature.yaml:

    metrics:
      - command: [.venv-trulens/bin/python, infra/scorers/trulens/scorer.py, "http://127.0.0.1:8601/v1", MODEL]
        as: trulens_relevance
        timeout_s: 900
"""

import contextlib
import json
import os
import sys
from pathlib import Path

os.environ.update(TRULENS_OTEL_TRACING="0", STREAMLIT_BROWSER_GATHER_USAGE_STATS="false", DO_NOT_TRACK="1")

from trulens.providers.openai import OpenAI


def main() -> None:
    """Read an item a line from standard input, write its score a line to standard output; what TruLens says goes to
    standard error. An item that the judge does not grade has no score."""
    address, model, *key = sys.argv[1:]
    provider = OpenAI(model_engine=model, base_url=address, api_key=Path(key[0]).read_text().strip() if key else "none")
    # Chat alone: it would try the Responses API first, which few servers but OpenAI's speak (trulens 2.16.0).
    provider._set_capabilities({"responses_api": False, "structured_outputs": False, "cfg": False})
    for line in sys.stdin:
        item, score = json.loads(line), None
        asked = item["messages"][-1]["content"] if item["messages"] else ""
        with contextlib.redirect_stdout(sys.stderr):
            try:
                score = float(provider.relevance(asked, item["output"]))
            except (RuntimeError, ValueError) as error:  # no answer after its retries, or no grade in it
                print(type(error).__name__, file=sys.stderr)
        print(json.dumps({"index": item["index"], "score": score}), flush=True)


if __name__ == "__main__":
    main()
