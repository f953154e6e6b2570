"""Stage data_gate: ends with 2 where validate's verdict is "block", so that nothing is learned from a bad batch.

The only stage that stops the graph. Command line: python -m tasks.data_gate
"""

from __future__ import annotations

import sys

from ratchet.errors import BadInput, RatchetError
from ratchet.files import read_json, write_json
from ratchet.params import Params, load_params
from ratchet.process import die_with_parent


def data_gate(params: Params) -> None:
    """Pass validate's verdict on.

    Raises:
        BadInput: the verdict is "block", with validate's reasons; or there is none.
    """
    path = params.outputs / "metrics" / "validate.json"
    if not path.is_file():
        raise BadInput(f"{path} is missing: run the stage validate first (`dvc repro validate`)")
    found = read_json(path)
    if found["verdict"] != "pass":
        raise BadInput(
            f"the data of {params.feature} is too bad to learn from: {'; '.join(found['reasons'])}; "
            f"data/{params.feature}/data_report.html shows what is wrong, quarantine.jsonl beside it lists the rows; "
            "the limits stand in params.yaml (validate) and in the feature's contract"
        )
    write_json(params.outputs / "metrics" / "data_gate.json", {"verdict": "pass", "used": found["used"]})


def main() -> int:
    """Run the stage; a bad batch is one line on standard error and exit code 2."""
    try:
        die_with_parent()
        data_gate(load_params())
    except RatchetError as error:
        print(f"data_gate: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
