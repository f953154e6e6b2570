"""An inspect-ai task on items of one's own; run it where items.jsonl lies."""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def capitals() -> Task:
    """Each answer must hold the expected word."""
    return Task(
        dataset=json_dataset("items.jsonl", lambda row: Sample(input=row["text"], target=row["expected"])),
        solver=generate(max_tokens=16),
        scorer=includes(),
    )
