"""Approving reviews of pull requests, as GitHub and GitLab send them by webhook.

A review counts for a release where the pull request comes from the run's branch, its text names the release, and what
was reviewed is the commit that the run sealed: a push after the review, or an older review, fits no release.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from ratchet.approvals import NAME_PATTERN, Decision, Said
from verifier.decisions import Refusal, Verifier
from verifier.identity import Identities

BRANCH = "run/"
RELEASE = re.compile(r"\brel_[0-9a-f]{64}\b")
LONGEST_REASON = 2000


class Review(NamedTuple):
    """A review as the host tells it. `reviewed` is the commit that was looked at, `head` the branch's newest one."""

    repository: str
    branch: str
    text: str
    author: Any
    reviewer: Any
    name: str
    reviewed: str
    head: str
    decision: Decision
    reason: str


def take_review(verifier: Verifier, identities: Identities, headers: Mapping[str, str], body: bytes) -> str | None:
    """Sign the decision that a webhook brings. Returns who decided; None for an event that decides nothing.

    Raises:
        Refusal: not set up (404), not signed with the secret (401), sent before (409), or on anything but the sealed
            commit of a release by one of its approvers (403).
    """
    if identities.reviews is None:
        raise Refusal(404, "not_set_up", "no repository is set up (RATCHET_IDENTITY)")
    is_github = identities.reviews.host == "github"
    if is_github:
        given = headers.get("x-hub-signature-256", "")
        wanted = "sha256=" + hmac.new(identities.review_secret, body, hashlib.sha256).hexdigest()
    else:  # GitLab sends the secret itself, so TLS has to stand in front of the verifier
        given, wanted = headers.get("x-gitlab-token", ""), identities.review_secret.decode("latin-1")
    if not hmac.compare_digest(given.encode("latin-1"), wanted.encode("latin-1")):
        raise Refusal(401, "wrong_signature", "the webhook is not signed with the secret")
    try:
        payload = dict(json.loads(body))
        review = _of_github(payload) if is_github else _of_gitlab(payload)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refusal(422, "malformed", "the webhook has another shape") from error
    if review is None:
        return None
    said = _what_was_said(review, identities.reviews.repository)
    if verifier.facts_of(said.subject).attestation.get("commit") != review.head:
        raise Refusal(403, "another_commit", "the pull request's head is not the commit that the run sealed")
    verifier.decide_as(said, review.name, "pull-request", hashlib.sha256(body).hexdigest())
    return review.name


def _what_was_said(review: Review, repository: str) -> Said:
    releases = set(RELEASE.findall(review.text))
    if review.repository.lower() != repository.lower() or not review.branch.startswith(BRANCH):
        raise Refusal(403, "another_branch", f"only pull requests of {repository} from a branch {BRANCH}… count")
    if len(releases) != 1:
        raise Refusal(403, "no_release", "the pull request's text must name exactly one release, by its whole id")
    if review.author == review.reviewer or not re.fullmatch(NAME_PATTERN, review.name):
        raise Refusal(403, "own_review", "nobody approves a pull request of their own")
    if review.reviewed != review.head:
        raise Refusal(403, "another_commit", "the review is of an older commit than the pull request has now")
    run_id, reason = review.branch.removeprefix(BRANCH), review.reason.strip()[:LONGEST_REASON]
    try:
        return Said(run_id=run_id, subject=releases.pop(), decision=review.decision, reason=reason)
    except ValidationError as error:
        raise Refusal(422, "malformed", "; ".join(sorted({fault["msg"] for fault in error.errors()}))) from error


def _of_github(payload: Any) -> Review | None:
    """Event `pull_request_review` (docs.github.com, "Webhook events and payloads")."""
    decisions: dict[str, Decision] = {"approved": "approve", "changes_requested": "reject"}
    decision = decisions.get(str((payload.get("review") or {}).get("state")).lower())
    if payload.get("action") != "submitted" or decision is None:
        return None
    review, asked = payload["review"], payload["pull_request"]
    return Review(
        repository=str(payload["repository"]["full_name"]),
        branch=_own_branch(
            asked["head"]["repo"]["full_name"], payload["repository"]["full_name"], asked["head"]["ref"]
        ),
        text=str(asked["body"] or ""),
        author=asked["user"]["login"],
        reviewer=review["user"]["login"],
        name=str(review["user"]["login"]),
        reviewed=str(review["commit_id"]),
        head=str(asked["head"]["sha"]),
        decision=decision,
        reason=str(review["body"] or ""),
    )


def _of_gitlab(payload: Any) -> Review | None:
    """Event `merge_request` (docs.gitlab.com, "Webhook events"); what was reviewed is its last commit."""
    asked = payload.get("object_attributes") or {}
    if payload.get("object_kind") != "merge_request" or asked.get("action") not in ("approved", "approval"):
        return None
    head = str(asked["last_commit"]["id"])
    return Review(
        repository=str(payload["project"]["path_with_namespace"]),
        branch=_own_branch(asked["source_project_id"], asked["target_project_id"], asked["source_branch"]),
        text=str(asked["description"] or ""),
        author=asked["author_id"],
        reviewer=payload["user"]["id"],
        name=str(payload["user"]["username"]),
        reviewed=head,
        head=head,
        decision="approve",
        reason="",
    )


def _own_branch(source: Any, target: Any, branch: Any) -> str:
    """The branch; one of a fork goes by no name that could be a run's."""
    return str(branch) if source == target else ""
