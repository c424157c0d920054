"""Whether a loaded sentence-transformers model is a BERT that the packed forward computes exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT encoder.

    Attributes
    ----------
    layers, width, heads
        Transformer layers, length of a token's vector, attention heads.
    inner
        Width of the feed-forward layer.
    epsilon
        Of the layer norms.
    window
        Most tokens of a text, special tokens included.
    """

    layers: int
    width: int
    heads: int
    inner: int
    epsilon: float
    window: int

    def flops(self, tokens: int, squares: int) -> float:
        """Return the model's floating-point operations for texts without padding.

        Per layer and token 2 (4 d² + 2 d f) for the matrix products with weights, and 4 d n² for attention in
        a text of n tokens; d is `width`, f is `inner`.

        Parameters
        ----------
        tokens, squares
            Sum of the texts' lengths and of their squares.
        """
        weights = 2.0 * (4 * self.width**2 + 2 * self.width * self.inner)
        return self.layers * (weights * tokens + 4.0 * self.width * squares)


def recognise(model: Any) -> BertShape | str:
    """Return the sizes of a model that can run packed, else in a few words why it can't.

    The modules must be exactly a BERT (absolute positions, exact GELU, not a decoder), mean pooling, and
    normalisation; texts must go in without a prompt or lower-casing outside of the tokenizer, and come out
    with all dimensions. What the library has read is what counts, not the files.

    Parameters
    ----------
    model
        A `SentenceTransformer`.
    """
    from transformers import BertModel, PreTrainedTokenizerFast

    modules = list(model)
    names = [type(module).__name__ for module in modules]
    if names != ["Transformer", "Pooling", "Normalize"]:
        return f"modules {', '.join(names)} instead of Transformer, Pooling, Normalize"
    transformer, pooling, _ = modules
    bert = transformer.auto_model
    if type(bert) is not BertModel:
        return f"architecture {type(bert).__name__} instead of BertModel"
    config = bert.config
    if config.is_decoder or config.add_cross_attention:
        return "a decoder"
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        return f"position embedding '{config.position_embedding_type}' instead of 'absolute'"
    if config.hidden_act != "gelu":
        return f"activation '{config.hidden_act}' instead of 'gelu'"
    if not _pools_the_mean(pooling.get_config_dict()):
        return "pooling that is not the mean of all tokens"
    if model.default_prompt_name is not None:
        return f"a default prompt ('{model.default_prompt_name}')"
    if transformer.do_lower_case:
        return "lower-casing outside of the tokenizer"
    if model.truncate_dim is not None:
        return f"truncate_dim {model.truncate_dim}"
    if not isinstance(model.tokenizer, PreTrainedTokenizerFast):
        return "a tokenizer that is not one of Hugging Face tokenizers"
    if model.tokenizer.truncation_side != "right":
        return "truncation on the left"
    window = min(model.max_seq_length or config.max_position_embeddings, config.max_position_embeddings)
    return BertShape(
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        inner=config.intermediate_size,
        epsilon=config.layer_norm_eps,
        window=window,
    )


def _pools_the_mean(settings: dict[str, Any]) -> bool:
    """Read both ways in which versions of the library write down the pooling."""
    if not settings.get("include_prompt", True):
        return False
    if "pooling_mode" in settings:
        return bool(settings["pooling_mode"] in ("mean", ("mean",), ["mean"]))
    chosen = [name for name, value in settings.items() if name.startswith("pooling_mode_") and value]
    return chosen == ["pooling_mode_mean_tokens"]
