"""The words by which a highlight is of interest here: those that a deployment names, or ours."""

from __future__ import annotations

from typing import Final

from pydantic import field_validator

from zeke_queue.config import Variables

DEFAULT_KEYWORDS: Final = (
    # AI
    "AI",
    "agent",
    "agents",
    "alignment",
    "Anthropic",
    "benchmark",
    "ChatGPT",
    "Claude",
    "context window",
    "deep learning",
    "embedding",
    "embeddings",
    "evaluation",
    "fine-tuning",
    "Gemini",
    "GPT",
    "GPU",
    "hallucination",
    "inference",
    "language model",
    "language models",
    "Llama",
    "LLM",
    "LLMs",
    "machine learning",
    "MCP",
    "Mistral",
    "model",
    "models",
    "neural network",
    "open weights",
    "OpenAI",
    "prompt",
    "prompts",
    "RAG",
    "reasoning",
    "reinforcement learning",
    "retrieval",
    "token",
    "tokens",
    "training",
    "transformer",
    # Software
    "API",
    "APIs",
    "breaking change",
    "browser",
    "bug",
    "C++",
    "cloud",
    "compiler",
    "container",
    "database",
    "deployment",
    "deprecated",
    "Docker",
    "encryption",
    "framework",
    "Go",
    "index",
    "Java",
    "JavaScript",
    "Kubernetes",
    "latency",
    "library",
    "Linux",
    "memory",
    "migration",
    "Node.js",
    "observability",
    "open source",
    "performance",
    "Postgres",
    "PostgreSQL",
    "Python",
    "query",
    "queue",
    "React",
    "release",
    "Rust",
    "SDK",
    "security",
    "SQL",
    "SQLite",
    "testing",
    "throughput",
    "transaction",
    "TypeScript",
    "vulnerability",
    "WebAssembly",
)


class KeywordSettings(Variables):
    """What a deployment is interested in.

    Attributes:
        zeke_keywords: words, or several words that belong together, with commas between them.
    """

    zeke_keywords: str | None = None

    @property
    def keywords(self) -> tuple[str, ...]:
        """The words, each once; ours where none are set.

        >>> KeywordSettings(zeke_keywords="bees, honey bees,").keywords
        ('bees', 'honey bees')
        """
        return _words(self.zeke_keywords) if self.zeke_keywords is not None else DEFAULT_KEYWORDS

    @field_validator("zeke_keywords")
    @classmethod
    def _has_words(cls, text: str | None) -> str | None:
        if text is not None and not _words(text):
            raise ValueError("it has no words; write some with commas between them, such as Postgres, Rust")
        return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for part in text.split(",") if (word := " ".join(part.split()))))
