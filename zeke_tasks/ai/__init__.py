"""AI clients: `AIClient` is the interface that tasks use, `open_ai` opens the client that the settings name.

`errors` has the errors of a call, and `zeke_tasks.error_policy` decides what they mean for a job. `openai`
and `wordllama` are imported only where they are used: the former takes half a second, the latter is an extra.
"""

from __future__ import annotations

from zeke_tasks.ai.answers import Analysis, Briefs, Citation
from zeke_tasks.ai.choose import open_ai
from zeke_tasks.ai.client import (
    AIClient,
    AIOptions,
    Answer,
    Asks,
    Embedded,
    Embeds,
    M,
    Paired,
    Prompt,
    Quote,
    Usage,
    load_prompt,
)
from zeke_tasks.ai.errors import (
    AIError,
    AIMalformed,
    AIOverBudget,
    AIRateLimited,
    AIRefused,
    AIRejected,
    AIUnavailable,
)
from zeke_tasks.ai.limited import Limited
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.ai.stub import StubClient

__all__ = [
    "AIClient",
    "AIError",
    "AIMalformed",
    "AIOptions",
    "AIOverBudget",
    "AIRateLimited",
    "AIRefused",
    "AIRejected",
    "AISettings",
    "AIUnavailable",
    "Analysis",
    "Answer",
    "Asks",
    "Briefs",
    "Citation",
    "Embedded",
    "Embeds",
    "Limited",
    "M",
    "Paired",
    "Prompt",
    "Quote",
    "StubClient",
    "Usage",
    "load_prompt",
    "open_ai",
]
