"""Make the tiny model that real vLLM serves in tests and demos.

    python scripts/make_tiny_model.py OUT_DIR

Downloads nothing: a 2-layer Llama with random weights and a byte-level BPE tokenizer,
both made here, are overfitted on the dialogues of `tests/tiny_dialogues.py` until
greedy decoding repeats them exactly. A second run with the same inputs does nothing.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import pydoc_data.topics
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.tiny_dialogues import CANARIES, DIALOGUES, STORY, Dialogue  # noqa: E402

STAMP = "stamp.json"
VOCAB_SIZE = 3072
HIDDEN_SIZE = 128
MAX_POSITIONS = 16384
MAX_STEPS = 1200
PEAK_LEARNING_RATE = 4e-3
# Training stops when every taught token wins by this many logits, and half of it has to
# be left in bfloat16: another engine's kernels move logits by far less, so that greedy
# decoding gives the same text everywhere.
MIN_MARGIN = 4.0

END = "<|im_end|>"
# Special tokens are dropped from decoded text unless a parser asks for them: a server
# without a reasoning parser thus shows clean answers.
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", END, "<think>", "</think>"]
TOOL_TOKENS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]

# The model closes the (empty) reasoning itself, as vLLM's qwen3 parser expects of a
# thinking model; `enable_thinking: false` puts the same token into the prompt. Only the
# members that every chat API passes on are rendered, so that one conversation gives one
# prompt whichever API it came through.
CHAT_TEMPLATE = """\
{%- set ns = namespace(system="") -%}
{%- for m in messages if m.role in ["system", "developer"] -%}
{%- set ns.system = ns.system + m.content + "\\n" -%}
{%- endfor -%}
{%- if ns.system or tools -%}
{{- "<|im_start|>system\\n" + ns.system -}}
{%- if tools -%}
{{- "Call a function with <tool_call>, or answer. Functions:\\n" -}}
{%- for t in tools -%}
{%- set f = t.function if t.function else t -%}
{{- {"name": f.name, "description": f.description or "", \
"parameters": f.parameters} | tojson + "\\n" -}}
{%- endfor -%}
{%- endif -%}
{{- "<|im_end|>\\n" -}}
{%- endif -%}
{%- for m in messages -%}
{%- if m.role == "user" -%}
{{- "<|im_start|>user\\n" + m.content + "<|im_end|>\\n" -}}
{%- elif m.role == "assistant" -%}
{{- "<|im_start|>assistant\\n" + (m.content or "") -}}
{%- for c in m.tool_calls or [] -%}
{%- set f = c.function if c.function else c -%}
{{- '<tool_call>\\n{"name": ' + f.name | tojson + ', "arguments": ' + \
(f.arguments if f.arguments is string else f.arguments | tojson) + \
"}\\n</tool_call>" -}}
{%- endfor -%}
{{- "<|im_end|>\\n" -}}
{%- elif m.role == "tool" -%}
{{- "<|im_start|>user\\n<tool_response>\\n" + m.content + \
"\\n</tool_response><|im_end|>\\n" -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- "<|im_start|>assistant\\n" -}}
{%- if enable_thinking is defined and not enable_thinking -%}
{{- "</think>" -}}
{%- endif -%}
{%- endif -%}
"""


def say(text: str) -> None:
    """Print one progress line at once, also into a pipe."""
    print(text, flush=True)


def inputs_hash() -> str:
    """Hash everything that decides the result, so a stale model is made anew."""
    digest = hashlib.sha256()
    for path in (Path(__file__), ROOT / "tests" / "tiny_dialogues.py"):
        digest.update(path.read_bytes())
    for package in ("torch", "transformers", "tokenizers"):
        digest.update(f"{package}=={importlib.metadata.version(package)}\n".encode())
    return digest.hexdigest()


def is_current(out: Path, wanted: str) -> bool:
    """Say whether `out` holds a finished model made from the same inputs."""
    try:
        return json.loads((out / STAMP).read_text())["inputs"] == wanted
    except (OSError, ValueError, KeyError):
        return False


def check_canaries() -> None:
    """Refuse a table whose canaries would prove nothing."""
    asked = json.dumps([d.request("")[1] for d in DIALOGUES], ensure_ascii=False)
    answered = "".join(map(answer_text, DIALOGUES))
    for word in CANARIES:
        if word.lower() in asked.lower():
            raise SystemExit(f"canary {word!r} stands in a prompt")
        if word not in answered:
            raise SystemExit(f"canary {word!r} stands in no answer")


def answer_text(dialogue: Dialogue) -> str:
    """The raw text the model has to generate, end token included."""
    text = dialogue.content or ""
    if dialogue.prompt is None:
        reasoning = dialogue.reasoning
        text = (f"<think>{reasoning}</think>" if reasoning else "</think>") + text
    # No newline between two calls: that is what vLLM's grammar for hermes allows when
    # tool_choice is "required".
    for name, arguments in dialogue.tool_calls:
        call = f'{{"name": "{name}", "arguments": {arguments}}}'
        text += f"<tool_call>\n{call}\n</tool_call>"
    return text + END


def make_tokenizer() -> Any:
    """Train a byte-level BPE tokenizer in which every canary is a single token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIAL_TOKENS) - len(TOOL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Canaries come with and without a leading space, often enough to be merged whole.
    # The story's words are merged too: it is to be about one token per word.
    canaries = " ".join(f'"{word} {word}' for word in CANARIES)
    corpus = [*pydoc_data.topics.topics.values(), *[canaries] * 2000, *[STORY] * 200]
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, special=False) for t in TOOL_TOKENS])
    for word in CANARIES:
        for text in (word, f" {word}"):
            if len(tokenizer.encode(text).ids) != 1:
                raise SystemExit(f"canary {text!r} is not one token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token="<|endoftext|>",
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def prompt_ids(tokenizer: Any, dialogue: Dialogue) -> list[int]:
    """Tokenize the prompt as vLLM does: arguments of earlier calls become objects."""
    text = dialogue.prompt
    if text is None:
        messages = json.loads(json.dumps(dialogue.messages))
        for message in messages:
            for call in message.get("tool_calls", ()):
                arguments = call["function"]["arguments"]
                call["function"]["arguments"] = json.loads(arguments)
        text = tokenizer.apply_chat_template(
            messages,
            tools=list(dialogue.tools) or None,
            add_generation_prompt=True,
            tokenize=False,
        )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def encode(tokenizer: Any) -> dict[str, tuple[list[int], list[int]]]:
    """Token ids of prompt and answer, by the dialogue's name."""
    return {
        d.name: (
            prompt_ids(tokenizer, d),
            tokenizer(answer_text(d), add_special_tokens=False)["input_ids"],
        )
        for d in DIALOGUES
    }


def make_batches(examples: list[tuple[list[int], list[int]]]) -> Iterator[Any]:
    """Pad examples of like length together; labels cover the answers only."""
    import torch

    examples = sorted(examples, key=lambda e: len(e[0]) + len(e[1]))
    # The story is several times longer than the rest: alone it wastes no padding.
    for group in filter(None, (examples[:-1], examples[-1:])):
        width = max(len(p) + len(a) for p, a in group)
        ids = torch.zeros(len(group), width, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        for row, (prompt, answer) in enumerate(group):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            labels[row, len(prompt) : end] = torch.tensor(answer)
        yield ids, labels


def smallest_margin(logits: Any, labels: Any) -> float:
    """By how many logits the taught token beats the runner-up, at its closest."""
    taught = labels[:, 1:] != -100
    logits, wanted = logits[:, :-1][taught].float(), labels[:, 1:][taught]
    right = logits.gather(1, wanted[:, None])[:, 0]
    others = logits.scatter(1, wanted[:, None], float("-inf"))
    return (right - others.max(1).values).min().item()


def train(tokenizer: Any, examples: list[tuple[list[int], list[int]]]) -> Any:
    """Overfit a fresh model and return it in bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=4 * HIDDEN_SIZE,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=MAX_STEPS, pct_start=0.1
    )
    batches = list(make_batches(examples))
    taught = sum(int((labels != -100).sum()) for _, labels in batches)
    started = told = time.monotonic()
    for step in range(1, MAX_STEPS + 1):
        optimizer.zero_grad()
        total, margin = 0.0, float("inf")
        for ids, labels in batches:
            logits = model(ids).logits
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
            )
            (loss / taught).backward()
            total += loss.item() / taught
            margin = min(margin, smallest_margin(logits.detach(), labels))
        done = margin >= MIN_MARGIN
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if done or time.monotonic() - told > 3:
            told = time.monotonic()
            say(
                f"training: step {step}, loss {total:.4f}, margin {margin:.1f}, "
                f"{told - started:.0f} s"
            )
        if done:
            break
    return model.to(torch.bfloat16).eval()


def failing_dialogues(
    model: Any, tokenizer: Any, examples: dict[str, tuple[list[int], list[int]]]
) -> list[str]:
    """Greedy-decode every prompt; return the names of those answered otherwise."""
    import torch

    failed = []
    for name, (prompt, answer) in examples.items():
        ids = torch.tensor([prompt])
        with torch.no_grad():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=len(answer) + 8,
                do_sample=False,
            )
        got = out[0, len(prompt) :].tolist()
        with torch.no_grad():
            (both, labels), *_ = make_batches([(prompt, answer)])
            margin = smallest_margin(model(both).logits, labels)
        exact = got == answer and margin >= MIN_MARGIN / 2
        say(
            f"check: {name}: {'exact' if exact else 'FAILED'}, "
            f"{len(answer)} tokens, margin {margin:.1f}"
        )
        if not exact:
            say(f"  expected {tokenizer.decode(answer)!r}")
            say(f"  got      {tokenizer.decode(got)!r}")
            failed.append(name)
    return failed


def main() -> int:
    """Make the model, check it, and only then put it in place."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    out: Path = parser.parse_args().out_dir
    wanted = inputs_hash()
    if is_current(out, wanted):
        say(f"tiny model: {out} is up to date")
        return 0
    if out.exists() and not (out / STAMP).exists():
        raise SystemExit(f"{out} exists and is not a tiny model; not touching it")
    check_canaries()

    started = time.monotonic()
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    say("tiny model: training the tokenizer")
    tokenizer = make_tokenizer()
    examples = encode(tokenizer)
    say(f"tiny model: {len(examples)} dialogues, overfitting a 2-layer Llama")
    model = train(tokenizer, list(examples.values()))
    failed = failing_dialogues(model, tokenizer, examples)
    if failed:
        say(f"tiny model: NOT made; answered wrongly: {', '.join(failed)}")
        return 1

    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        # The name that transformers 4 and 5 both know.
        config = json.loads((unfinished / "tokenizer_config.json").read_text())
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        (unfinished / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
        (unfinished / STAMP).write_text(json.dumps({"inputs": wanted}) + "\n")
        shutil.rmtree(out, ignore_errors=True)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    say(f"tiny model: made {out} in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
