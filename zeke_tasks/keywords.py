"""The words by which a highlight is of interest here: those that a deployment names, or ours."""

from __future__ import annotations

from typing import Final

from pydantic import field_validator

from zeke_queue.system.settings import Variables

# Words that mean something else in other news are not among them ("go", "model", "memory"), and of two forms
# of a word, or of a phrase and a part of it, there is one: what a text says once should count once.
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
