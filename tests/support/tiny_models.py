"""Sentence-transformers models with random weights and MiniLM's tokenizer, small enough to make in a test.

The libraries are imported where they are used: they take seconds, and every worker imports every test module.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from coverage_lab.encoders.packaged import packaged_minilm

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


def bert(**options: Any) -> PreTrainedModel:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**{**_SMALL, **options}))


def distilbert() -> PreTrainedModel:
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(
        DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64)
    )


def save(
    folder: Path,
    network: PreTrainedModel,
    *,
    pooling: str = "mean",
    window: int = 64,
    normalize: bool = True,
    prompt: str | None = None,
) -> Path:
    """Save a model and return its folder. Weights are large enough for texts to differ."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer

    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.3, generator=generator)
            elif "norm" not in name.lower():
                parameter.normal_(0.0, 0.1, generator=generator)
    inner = folder.with_name(f"{folder.name}-network")
    network.save_pretrained(inner)
    AutoTokenizer.from_pretrained(packaged_minilm()).save_pretrained(inner)
    modules: list[torch.nn.Module] = [
        Transformer(str(inner), max_seq_length=window),
        Pooling(32, pooling_mode=pooling),
    ]
    if normalize:
        modules.append(Normalize())
    prompts = {} if prompt is None else {"task": prompt}
    SentenceTransformer(
        modules=modules, prompts=prompts, default_prompt_name=None if prompt is None else "task", device="cpu"
    ).save(str(folder))
    return folder
