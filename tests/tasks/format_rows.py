"""One or more sound rows of every format that can be imported, in the shape that its tool writes."""

import csv
import io
import json
from typing import Any

import pytest

ASKED = [{"role": "system", "content": "You help."}, {"role": "user", "content": "Where is my card?"}]
REPLIED = {"role": "assistant", "content": "It is on its way."}
CALL = {"id": "call_1", "type": "function", "function": {"name": "track", "arguments": '{"card": 1}'}}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_760_000_000,
    "model": "small-1",
    "choices": [{"index": 0, "message": REPLIED, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 15, "completion_tokens": 7, "total_tokens": 22},
}
RATCHET = [
    {
        "interaction_id": "i1",
        "feature": "f",
        "at": "2026-01-02T03:04:05Z",
        "input": {"messages": ASKED, "variables": {"text": "x"}},
        "output": {"content": "It is on its way."},
        "contexts": [{"id": "c1", "text": "Cards take a week."}],
        "user_id": "u1",
    },
    {
        "feedback_id": "f1",
        "interaction_id": "i1",
        "at": "2026-01-02T04:04:05Z",
        "kind": "correction",
        "value": "It comes on Monday.",
        "source": {"type": "agent", "id": "a1"},
    },
]
OPENAI_CHAT = [{"messages": [*ASKED, REPLIED]}, {"messages": [*ASKED, {"role": "assistant", "tool_calls": [CALL]}]}]
OPENAI_BATCH = [
    {"custom_id": "q1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": ASKED}},
    {"id": "b1", "custom_id": "q1", "response": {"status_code": 200, "body": COMPLETION}, "error": None},
    {"custom_id": "q2", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "Where is it?"}},
]
OPENAI_DPO = [
    {
        "input": {"messages": ASKED, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": "It comes on Monday."}],
        "non_preferred_output": [REPLIED],
    }
]
OTEL = [
    {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "5b8efff798038103d269b633813fc60c",
                                "spanId": "eee19b7ec3c1b174",
                                "name": "chat small-1",
                                "startTimeUnixNano": "1760000000000000000",
                                "endTimeUnixNano": "1760000001000000000",
                                "attributes": [
                                    {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                                    {"key": "gen_ai.input.messages", "value": {"stringValue": json.dumps(ASKED)}},
                                    {"key": "gen_ai.output.messages", "value": {"stringValue": json.dumps([REPLIED])}},
                                ],
                            }
                        ]
                    }
                ]
            }
        ]
    }
]
LANGFUSE = [
    {
        "name": "export",
        "trace": {
            "id": "t1",
            "projectId": "p1",
            "name": "support",
            "timestamp": "2025-09-30T09:03:59.962Z",
            "userId": "u1",
            "sessionId": "s1",
            "input": json.dumps({"messages": ASKED}),
            "output": None,
            "latency": 1.5,
            "scores": [
                {
                    "id": "sc1",
                    "name": "helpful",
                    "value": 0.8,
                    "source": "EVAL",
                    "dataType": "NUMERIC",
                    "comment": "good",
                    "timestamp": "2025-09-30T09:04:30.125Z",
                }
            ],
            "corrections": [],
        },
        "observations": [
            {
                "id": "o1",
                "type": "GENERATION",
                "startTime": "2025-09-30T09:04:00.000Z",
                "model": "small-1",
                "input": None,
                "output": json.dumps(COMPLETION),
                "usageDetails": {"input": 15, "output": 7},
            },
            {"id": "o2", "type": "RETRIEVER", "output": [{"id": "p1", "page_content": "Cards take a week."}]},
        ],
    }
]
MLFLOW = [
    {
        "info": {
            "trace_id": "tr-1",
            "request_time": "2025-09-30T09:03:59.962Z",
            "execution_duration": "1.5s",
            "state": "OK",
            "tags": {"mlflow.traceName": "support"},
            "trace_metadata": {"mlflow.trace.user": "u1", "mlflow.trace.session": "s1"},
            "assessments": [
                {
                    "assessment_id": "a-1",
                    "assessment_name": "is_correct",
                    "trace_id": "tr-1",
                    "source": {"source_type": "HUMAN", "source_id": "agent@example.org"},
                    "create_time": "2025-09-30T10:00:00Z",
                    "feedback": {"value": False},
                    "rationale": "too vague",
                },
                {
                    "assessment_id": "a-2",
                    "assessment_name": "expected_response",
                    "trace_id": "tr-1",
                    "source": {"source_type": "HUMAN", "source_id": "agent@example.org"},
                    "create_time": "2025-09-30T10:00:00Z",
                    "expectation": {"value": "It comes on Monday."},
                },
            ],
        },
        "data": {
            "spans": [
                {
                    "span_id": "1",
                    "name": "predict",
                    "parent_span_id": None,
                    "attributes": {
                        "mlflow.spanType": '"CHAIN"',
                        "mlflow.spanInputs": json.dumps({"question": "Where is my card?"}),
                        "mlflow.spanOutputs": json.dumps("It is on its way."),
                    },
                },
                {
                    "span_id": "2",
                    "name": "search",
                    "parent_span_id": "1",
                    "attributes": {
                        "mlflow.spanType": '"RETRIEVER"',
                        "mlflow.spanOutputs": json.dumps([{"page_content": "Cards take a week.", "id": "p1"}]),
                    },
                },
            ]
        },
    }
]
INFERENCE, EPISODE = "01934d3c-f9b0-7e02-bcac-49363015485a", "0193fb9d-c8c7-7e33-801a-0d8ba652f020"
BLOCKS = json.dumps([{"type": "text", "text": "It comes on Monday."}])
TENSORZERO = [
    {
        "id": INFERENCE,
        "function_name": "support",
        "variant_name": "v",
        "episode_id": EPISODE,
        "input": json.dumps(
            {"messages": [{"role": "user", "content": [{"type": "text", "value": {"topic": "card"}}]}]}
        ),
        "output": json.dumps([{"type": "text", "text": "It is on its way."}]),
        "processing_time_ms": 20,
        "tags": {},
    },
    {"id": "0193fb9e-1b7e-7d91-847d-3c7ebf1973ec", "target_id": INFERENCE, "metric_name": "solved", "value": False},
    {"id": "0193fb9e-1b7e-7d91-847d-3c7ebf1973ed", "target_id": EPISODE, "metric_name": "score", "value": 0.5},
    {"id": "0193fb9e-1b7e-7d91-847d-3c7ebf1973ee", "inference_id": INFERENCE, "value": BLOCKS, "tags": {"author": "a"}},
    {"id": "0193fb9e-1b7e-7d91-847d-3c7ebf1973ef", "target_id": EPISODE, "target_type": "episode", "value": "slow"},
]
FLYWHEEL = [
    {
        "timestamp": 1_760_000_000,
        "workload_id": "support",
        "client_id": "acme",
        "request": {"model": "small-1", "messages": ASKED, "temperature": 0.2, "user": "u1"},
        "response": COMPLETION,
    }
]
HUMANLOOP = [
    {
        "id": "log_1",
        "messages": ASKED,
        "output_message": REPLIED,
        "output": "It is on its way.",
        "inputs": {"topic": "card"},
        "created_at": "2025-06-05T12:00:00Z",
        "user": "u1",
        "trace_id": "s1",
        "prompt": {"id": "pr_1", "name": "support", "version_id": "prv_1", "model": "small-1"},
        "prompt_tokens": 15,
        "output_tokens": 7,
        "prompt_cost": 0.001,
        "output_cost": 0.002,
        "provider_latency": 0.5,
        "evaluator_logs": [
            {
                "id": "ev_1",
                "judgment": "bad",
                "created_at": "2025-06-05T13:00:00Z",
                "evaluator": {"name": "rating", "spec": {"evaluator_type": "human"}},
            },
            {
                "id": "ev_2",
                "judgment": "It comes on Monday.",
                "created_at": "2025-06-05T13:00:00Z",
                "evaluator": {"name": "correction", "spec": {"evaluator_type": "human"}},
            },
        ],
    }
]
ZENDESK = [
    {
        "Ticket ID": "7",
        "Created at": "2025-06-05 12:00:00",
        "Subject": "card",
        "Description": "Where is\nmy card?",
        "Reply": "It comes on Monday.",
        "Draft": "It is on its way.",
        "Requester id": "u1",
        "Assignee": "a1",
        "Satisfaction Score": "Bad",
        "Priority": "=1+1",
    }
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "ratchet": RATCHET,
    "openai-chat": OPENAI_CHAT,
    "openai-batch": OPENAI_BATCH,
    "openai-dpo": OPENAI_DPO,
    "otel": OTEL,
    "langfuse": LANGFUSE,
    "mlflow": MLFLOW,
    "tensorzero": TENSORZERO,
    "flywheel": FLYWHEEL,
    "humanloop": HUMANLOOP,
    "zendesk-csv": ZENDESK,
}


def needs(format: str) -> None:
    """Skip where what a format is read with is not part of this version."""
    if format == "otel":
        pytest.importorskip("ratchet.otel", reason="this version has no reader of OpenTelemetry")


def as_jsonl(*rows: Any) -> bytes:
    """Rows as lines; a text is a line as it is."""
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def as_csv(*rows: dict[str, Any]) -> bytes:
    """Rows as CSV under the columns of the first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_file(format: str, *rows: Any) -> bytes:
    """Rows in the way that a format writes them."""
    return as_csv(*rows) if format == "zendesk-csv" else as_jsonl(*rows)
