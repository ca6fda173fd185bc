"""Writes the tests' tiny model as a GGUF file, which llama.cpp loads.

``python llama_cpp_model.py MODEL_DIR OUT`` needs the packages ``gguf`` and ``numpy``. The
weights and words stay what they are, so that the model says what it was taught.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
}
_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(model: Path, out: Path) -> None:
    """Write the model of the folder ``model`` to ``out``."""
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(out, "llama")
    add_shape(writer, config)
    add_words(writer, model, config)
    for name, weights in weights_of(model / "model.safetensors"):
        for part, heads in (
            ("q_proj", config["num_attention_heads"]),
            ("k_proj", config["num_key_value_heads"]),
        ):
            if part in name:
                weights = interleaved(weights, heads)
        writer.add_tensor(name_of(name), weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_shape(writer: Any, config: dict[str, Any]) -> None:
    """Add what says how the weights are used."""
    assert config["tie_word_embeddings"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def add_words(writer: Any, model: Path, config: dict[str, Any]) -> None:
    """Add the tokenizer, a byte-level BPE as GPT-2's, and the template of chats."""
    tokenizer = json.loads((model / "tokenizer.json").read_text("utf-8"))
    words = [""] * config["vocab_size"]
    kinds = [gguf.TokenType.NORMAL] * len(words)
    for word, number in tokenizer["model"]["vocab"].items():
        words[number] = word
    for added in tokenizer["added_tokens"]:
        words[added["id"]] = added["content"]
        # Of these a server shows the second kind only.
        kinds[added["id"]] = (
            gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        )
    assert all(words)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    # It has none, but llama.cpp must not take another one's.
    writer.add_bos_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((model / "chat_template.jinja").read_text("utf-8"))


def weights_of(path: Path) -> Any:
    """Yield name and weights, in single precision, of a file of safetensors in BF16."""
    told = path.read_bytes()
    start = 8 + int.from_bytes(told[:8], "little")
    entries = json.loads(told[8:start])
    entries.pop("__metadata__", None)
    for name, entry in entries.items():
        assert entry["dtype"] == "BF16", name
        first, end = (start + it for it in entry["data_offsets"])
        halves = np.frombuffer(told[first:end], "<u2").astype("<u4")
        yield name, (halves << 16).view("<f4").reshape(entry["shape"])


def interleaved(weights: Any, heads: int) -> Any:
    """Order rows as llama.cpp turns them: the two of a pair beside each other."""
    pairs = weights.reshape(heads, 2, -1, weights.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weights.shape)


def name_of(name: str) -> str:
    """Return llama.cpp's name of a tensor."""
    if name in _NAMES:
        return _NAMES[name]
    _, _, layer, part = name.split(".", 3)
    return f"blk.{layer}.{_LAYER_NAMES[part.removesuffix('.weight')]}.weight"


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
