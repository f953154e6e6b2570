"""Approving reviews by webhook, signed as GitHub and GitLab sign them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import hmac
import json

import pytest

from tests.conftest import POLICY
from tests.released import Machine
from tests.verifier.conftest import Desk

SECRET, COMMIT = "0123456789abcdef0123", "c" * 40


class HostDesk(Desk):
    """A verifier that a git host calls, and a release that ana and cem may approve."""

    def __init__(self, settings, clock, host):
        folder = settings.repo / "features" / "routing"
        folder.mkdir(parents=True)
        approval = {"approvers": ["ana", "cem"], "identity": "pull-request"}
        (folder / "feature.yaml").write_text(json.dumps(POLICY | {"approval": approval}))
        self.release = Machine(settings).release(version=None, run="r1", approve=False, claims={"commit": COMMIT})
        (settings.repo / "secret").write_text(SECRET + "\n")
        told = {"host": host, "repository": "acme/support", "secret": "secret"}
        identity = settings.repo / "identity.yaml"
        identity.write_text(json.dumps({"pull_request": told}))
        self.host = host
        super().__init__(dataclasses.replace(settings, identity_file=identity), clock)

    def github(self):
        repository = {"full_name": "acme/support"}
        head = {"sha": COMMIT, "ref": "run/r1", "repo": repository}
        asked = {"head": head, "user": {"login": "bot"}, "body": f"Please look.\n\nRelease: {self.release}"}
        review = {"state": "approved", "user": {"login": "ana"}, "commit_id": COMMIT, "body": None}
        return {"action": "submitted", "review": review, "pull_request": asked, "repository": repository}

    def gitlab(self):
        attributes = {"action": "approved", "source_branch": "run/r1", "last_commit": {"id": COMMIT}, "author_id": 7}
        attributes |= {"source_project_id": 3, "target_project_id": 3, "description": f"`{self.release}`"}
        user, project = {"id": 8, "username": "ana"}, {"path_with_namespace": "acme/support"}
        return {"object_kind": "merge_request", "user": user, "project": project, "object_attributes": attributes}

    def deliver(self, payload, secret=SECRET, **headers):
        body = json.dumps(payload).encode()
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        signed = {"X-Hub-Signature-256": f"sha256={digest}"} if self.host == "github" else {"X-Gitlab-Token": secret}
        return self.client.post("/v1/reviews", content=body, headers=signed | headers)

    def signed(self):
        return [
            (kept["envelope"]["statement"]["approver"], kept["envelope"]["statement"]["decision"], kept["reason"])
            for kept in self.client.get("/v1/approvals", params={"run_id": "r1"}).json()
        ]


@pytest.fixture
def github(desk):
    return HostDesk(desk.settings, desk.clock, "github")


@pytest.fixture
def gitlab(desk):
    return HostDesk(desk.settings, desk.clock, "gitlab")


def changed(payload, path, value):
    payload = copy.deepcopy(payload)
    *parents, last = path.split(".")
    part = payload
    for name in parents:
        part = part[name]
    part[last] = value
    return payload


def test_an_approving_review_is_signed(github):
    assert github.deliver(github.github()).json() == {"approver": "ana"}
    assert github.signed() == [("ana", "approve", "")]


def test_requested_changes_are_a_rejection_with_their_reason(github):
    asked = changed(github.github(), "review.state", "changes_requested")
    assert "needs a reason" in github.deliver(asked).json()["message"]
    github.deliver(changed(asked, "review.body", "It promises refunds."))
    assert github.signed() == [("ana", "reject", "It promises refunds.")]


@pytest.mark.parametrize("secret", ["", "0123456789abcdef0124"])
@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_a_webhook_without_the_secret_is_refused(host, secret, request):
    desk = request.getfixturevalue(host)
    assert desk.deliver(getattr(desk, host)(), secret).json()["reason"] == "wrong_signature"
    assert desk.signed() == []


def test_a_changed_body_does_not_fit_its_signature(github):
    digest = hmac.new(SECRET.encode(), json.dumps(github.github()).encode(), hashlib.sha256).hexdigest()
    other = changed(github.github(), "review.user.login", "cem")
    assert github.deliver(other, **{"X-Hub-Signature-256": f"sha256={digest}"}).status_code == 401


def test_a_replay_is_refused_also_after_a_restart(github):
    assert github.deliver(github.github()).status_code == 200
    assert github.deliver(github.github()).json()["reason"] == "replayed"
    github.restart()
    assert github.deliver(github.github()).json()["reason"] == "replayed"
    assert len(github.signed()) == 1


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("pull_request.head.sha", "d" * 40, "another_commit"),  # pushed to after the review
        ("review.commit_id", "d" * 40, "another_commit"),
        ("pull_request.head.ref", "run/r2", "may_not_approve"),
        ("pull_request.head.ref", "main", "another_branch"),
        ("pull_request.head.repo", {"full_name": "eve/support"}, "another_branch"),
        ("repository", {"full_name": "eve/support"}, "another_branch"),
        ("pull_request.body", None, "no_release"),
        ("pull_request.body", "rel_" + "0" * 64, "may_not_approve"),
        ("pull_request.user.login", "ana", "own_review"),
        ("review.user.login", "bob", "may_not_approve"),
        ("review.user", None, "malformed"),
    ],
)
def test_a_review_of_anything_else_approves_nothing(github, path, value, reason):
    assert github.deliver(changed(github.github(), path, value)).json()["reason"] == reason
    assert github.signed() == []


def test_a_review_of_another_commit_than_the_run_sealed_approves_nothing(github):
    payload = changed(changed(github.github(), "pull_request.head.sha", "d" * 40), "review.commit_id", "d" * 40)
    assert github.deliver(payload).json()["reason"] == "another_commit"


@pytest.mark.parametrize(("path", "value"), [("review.state", "commented"), ("action", "dismissed"), ("review", None)])
def test_an_event_that_decides_nothing_is_answered_kindly(github, path, value):
    answer = github.deliver(changed(github.github(), path, value))
    assert (answer.status_code, answer.json(), github.signed()) == (200, {"approver": None}, [])


@pytest.mark.parametrize("action", ["approved", "approval"])
def test_an_approval_of_a_merge_request_is_signed(gitlab, action):
    assert gitlab.deliver(changed(gitlab.gitlab(), "object_attributes.action", action)).json() == {"approver": "ana"}


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("user.id", 7, "own_review"),
        ("object_attributes.last_commit.id", "d" * 40, "another_commit"),
        ("object_attributes.source_project_id", 9, "another_branch"),
        ("user.username", "bob", "may_not_approve"),
    ],
)
def test_a_merge_request_of_anything_else_approves_nothing(gitlab, path, value, reason):
    assert gitlab.deliver(changed(gitlab.gitlab(), path, value)).json()["reason"] == reason
    assert gitlab.signed() == []


def test_what_is_no_json_object_is_told_so_and_not_quoted(github):
    for body in ([], "text", None, {"review": []}):
        answer = github.deliver(body)
        assert answer.status_code in (200, 422) and "Traceback" not in answer.text
    assert github.client.post("/v1/reviews", content=b"x" * 2_000_000).status_code == 413


def test_without_a_repository_set_up_no_webhook_counts(desk):
    assert desk.client.post("/v1/reviews", content=b"{}").status_code == 404
