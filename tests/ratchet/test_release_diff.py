from __future__ import annotations

from ratchet.features import Decoding
from ratchet.prompts import Demonstration, Prompt
from ratchet.release_diff import changes, diff_releases, unified
from tests.routing_clone import RoutingClone
from tests.routing_clone import release as make


def test_equal_releases_differ_in_nothing(tmp_path) -> None:
    one = make(RoutingClone(tmp_path).feature)
    found = diff_releases(one, one, {"gate": {"verdict": "accept"}}, {"gate": {"verdict": "accept"}})
    assert [found[k] for k in ("prompt", "demonstrations", "settings", "data", "scores")] == [[], {}, {}, {}, {}]


def test_each_part_that_changed_is_told(tmp_path) -> None:
    before = make(RoutingClone(tmp_path).feature)
    prompt = Prompt(text="Name the team.\nBe brief.", demonstrations=(Demonstration(input="a", output="b"),))
    after = before.model_copy(update={"prompt": prompt, "decoding": Decoding(max_tokens=8)})
    facts = [
        {
            "rows": {"curate": {"train": n}},
            "dataset": f"outs:\n- md5: {m}\n  nfiles: 2\n",
            "gate": {"candidate": {"score": s}},
        }
        for n, m, s in ((10, "aa", 0.5), (25, "bb", 0.75))
    ]
    found = diff_releases(before, after, *facts)
    assert found["prompt"][2:] == ["@@ -1 +1,2 @@", " Name the team.", "+Be brief."]
    assert found["demonstrations"] == {"added": 1, "removed": 0}
    assert found["settings"] == {"decoding.max_tokens": [before.decoding.max_tokens, 8]}
    assert found["data"] == {"rows.curate.train": [10, 25], "md5": ["aa", "bb"]}
    assert found["scores"] == {"score": [0.5, 0.75]}


def test_an_adapter_that_comes_new_is_told_with_its_files() -> None:
    assert changes({"adapter": None}, {"adapter": {"digest": "d"}}) == {"adapter": [None, {"digest": "d"}]}
    assert changes({"a": {"b": 1}}, {"a": {"c": 1}}) == {"a.b": [1, None], "a.c": [None, 1]}


def test_texts_without_a_final_newline_are_compared_by_lines() -> None:
    assert unified("a\nb", "a\nc", "x", "y") == ["--- x", "+++ y", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]
    assert unified("a", "a", "x", "y") == []
