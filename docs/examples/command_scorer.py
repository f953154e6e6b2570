"""A scorer as a command: how much of the expected text's vocabulary the answer uses.

It imports nothing of Ratchet, so it can run in an environment of its own. feature.yaml:

    metrics:
      - {command: [python3, docs/examples/command_scorer.py], as: vocabulary, timeout_s: 60}
"""

import json
import sys


def main() -> None:
    """Read an item a line from standard input, write its score a line to standard output."""
    for line in sys.stdin:
        item = json.loads(line)
        wanted = set((item["expected"] or "").lower().split())
        used = wanted & set(item["output"].lower().split())
        score = len(used) / len(wanted) if wanted else None
        print(json.dumps({"index": item["index"], "score": score}), flush=True)


if __name__ == "__main__":
    main()
