"""The registry of prompts: every version of a feature's prompt, where it is live, who let it, and what changed."""

from __future__ import annotations

from itertools import pairwise

from starlette.responses import Response

from pages.app import Page, Visit
from pages.frame import Sources, features_of, framed
from ratchet.features import load_feature
from ratchet.prompt_registry import prompt_versions


def prompt_pages(sources: Sources) -> list[Page]:
    """The addresses of the prompts."""

    def show_all(visit: Visit) -> Response:
        names = features_of(sources, visit)
        versions = prompt_versions(sources.releases, sources.channels)
        of_each = {name: [v for v in versions if v.feature == name] for name in names}
        intents = {name: load_feature(sources.settings.repo, name).intent for name in names}
        return framed(visit, "prompts.html.j2", "/prompts", versions=of_each, intents=intents)

    def show(visit: Visit) -> Response:
        feature = load_feature(sources.settings.repo, visit.names["feature"])
        versions = prompt_versions(sources.releases, sources.channels, feature.name)
        pairs = list(pairwise([None, *versions]))
        return framed(visit, "prompt.html.j2", "/prompts", feature=feature, pairs=list(reversed(pairs)))

    return [Page("/prompts", "GET", show_all), Page("/prompts/{feature}", "GET", show)]
