"""The application's retrieval: adds the best articles to each question, as the app does before it asks the gateway.

python features/help_answers/retrieve.py data/demo/help_answers/articles.jsonl QUESTIONS.jsonl > WITH_CONTEXTS.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer


def add_contexts(articles: list[dict[str, Any]], rows: list[dict[str, Any]], *, top: int = 2) -> list[dict[str, Any]]:
    """Return the rows with `contexts`: the `top` articles nearest to `text` by TF-IDF cosine, best first."""
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    index = vectorizer.fit_transform([f"{a['title']} {a['text']}" for a in articles])
    found = []
    for row in rows:
        nearness = (index @ vectorizer.transform([row["text"]]).T).toarray().ravel()
        best = sorted(range(len(articles)), key=lambda i: (-nearness[i], articles[i]["id"]))[:top]
        found.append({**row, "contexts": [{"id": articles[i]["id"], "text": articles[i]["text"]} for i in best]})
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def main() -> None:
    """Read articles and questions, write the questions with their contexts."""
    for row in add_contexts(_read(Path(sys.argv[1])), _read(Path(sys.argv[2]))):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
