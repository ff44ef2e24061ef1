"""The keywords that make a highlight relevant: those of the deployment, or the defaults."""

from __future__ import annotations

from typing import Final

from pydantic import field_validator

from zeke_queue.system.settings import Variables

# Ambiguous words ("go", "model", "memory") are left out. One mention should count once, so there is only one
# form of each word, and no part of another phrase.
DEFAULT_KEYWORDS: Final = (
    # AI
    "AI",
    "Anthropic",
    "ChatGPT",
    "Claude Code",
    "context window",
    "deep learning",
    "fine-tuned",
    "Google Gemini",
    "GPT",
    "GPU",
    "Hugging Face",
    "language model",
    "LLM",
    "machine learning",
    "MCP",
    "neural network",
    "Nvidia",
    "Ollama",
    "open weights",
    "OpenAI",
    "prompt injection",
    "reinforcement learning",
    "retrieval-augmented",
    "vector search",
    # Software
    "API",
    "breaking change",
    "C++",
    "compiler",
    "CPU",
    "CUDA",
    "data race",
    "database",
    "deprecated",
    "Docker",
    "encryption",
    "Git",
    "GitHub",
    "Golang",
    "Java",
    "JavaScript",
    "Kubernetes",
    "latency",
    "Linux",
    "Node.js",
    "observability",
    "open source",
    "Postgres",
    "PostgreSQL",
    "pull request",
    "Python",
    "React Native",
    "Redis",
    "remote code execution",
    "SDK",
    "security update",
    "SQL",
    "SQLite",
    "throughput",
    "TypeScript",
    "WebAssembly",
    "written in Go",
    "written in Rust",
    "zero-day",
)


class KeywordSettings(Variables):
    """The keywords of a deployment.

    Attributes:
        zeke_keywords: words or phrases, separated by commas.
    """

    zeke_keywords: str | None = None

    @property
    def keywords(self) -> tuple[str, ...]:
        """The keywords without duplicates; the defaults if none are set.

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
